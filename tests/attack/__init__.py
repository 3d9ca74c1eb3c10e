"""Attacks on the finished product: each is refused, or found."""
