"""The checks: one module each, found by name; ``base`` defines what a check is."""
