"""The passes: one module each, found by name; ``base`` says what a pass is."""
