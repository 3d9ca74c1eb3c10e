"""Measures latency: fresh processes, pinned to CPUs, in rounds, until every goal is decided."""
