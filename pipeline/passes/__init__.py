"""The passes: one module each, found by name; ``base`` defines what a pass is."""
