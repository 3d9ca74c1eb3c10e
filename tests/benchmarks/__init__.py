"""Benchmarks: measured on purpose with nox -s bench_driver, never as timed tests."""
