"""The artifact beside every peer, in one run: ``nox -s bench-peers``."""
