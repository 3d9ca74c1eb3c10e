"""The passes: one module each, found by name."""
