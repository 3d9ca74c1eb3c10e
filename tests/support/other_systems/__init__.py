"""Runs Quern's code as other systems would: Windows, and macOS on both kinds of processors."""
