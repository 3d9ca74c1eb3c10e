"""How good answers are, measured the same way whatever runs the model."""
