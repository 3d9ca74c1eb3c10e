"""Checks on another machine: the files they need beside an artifact, and their result."""
