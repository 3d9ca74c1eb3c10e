"""The checks: one module each (:mod:`pipeline.checks.base` says what a check is)."""
