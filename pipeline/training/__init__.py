"""Training, merging and running models in PyTorch, shared by the passes that change weights."""
