"""What concerns the process itself: its environment, signals, streams, memory, and how it ends."""
