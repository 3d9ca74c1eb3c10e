"""Attacks: hostile input, planted faults, and what kills builds."""
