"""Run steps with a toolchain: in containers or in a virtual environment."""
