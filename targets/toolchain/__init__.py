"""The pinned software of a target: lock, wheels, base image, image, virtual environment."""
