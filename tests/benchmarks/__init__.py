"""Benchmarks: measured on purpose with nox -s bench-driver, never as timed tests."""
