"""The devices targets run on, and whether this machine has them."""
