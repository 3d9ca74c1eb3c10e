"""Checks away from the build: what travels with an artifact, and the result that comes back."""
