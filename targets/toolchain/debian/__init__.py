"""Debian's packages: the machine's mirrors, a lock of the base's packages, and unpacking them."""
