"""Reads and validates build configs, and reports all problems of a file at once."""
