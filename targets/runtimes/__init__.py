"""How a toolchain is brought to life: in containers or in a virtual environment."""
