"""Toolchains carried to a machine with no network: one file, written here and taken in there."""
