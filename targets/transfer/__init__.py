"""Exports toolchains to one file, and imports it on a machine without network."""
