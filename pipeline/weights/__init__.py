"""Weights too large for memory: read, changed and written tensor by tensor."""
