"""The running process: its environment, signals, streams, memory, and how it ends."""
