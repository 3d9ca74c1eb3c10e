"""What a process knows of itself: its environment, signals, streams, memory, and how it ends."""
