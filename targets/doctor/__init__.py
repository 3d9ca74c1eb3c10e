"""Checks whether this machine can build, and says what to do if it cannot."""
