"""Data sets: rows, checks, examples, splits, tokens."""
