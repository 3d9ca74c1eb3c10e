"""The devices on which targets run, and whether this machine has them."""
