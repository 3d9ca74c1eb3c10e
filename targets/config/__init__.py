"""Reading build configs: positions, validation, and all problems of a file at once."""
