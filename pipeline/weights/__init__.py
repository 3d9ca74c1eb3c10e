"""Weights too large to be held at once: read, changed and written tensor by tensor."""
