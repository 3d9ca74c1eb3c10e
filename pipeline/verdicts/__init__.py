"""Limits of measured figures, and the verdicts on them."""
