"""Limits of figures, and the verdicts on them."""
