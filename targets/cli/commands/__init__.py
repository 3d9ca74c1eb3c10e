"""One module per command, named as the command; each has a click command named ``command``."""
