"""The plain library calls that Quern's passes are measured against. Run by a toolchain's Python."""
