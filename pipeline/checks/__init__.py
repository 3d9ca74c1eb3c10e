"""The checks: one module each, found by name; ``base`` says what a check is."""
