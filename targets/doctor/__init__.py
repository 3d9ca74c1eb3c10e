"""Looks over this machine: can it build, and what to do where it cannot."""
