"""What asks a model, and what makes one, in a process of its own: run by the peer's own Python."""
