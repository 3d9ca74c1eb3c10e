"""Skips tests that need something which this machine lacks; in CI such a test fails.

How many were skipped for which reason is one line at the end of a run (``tests/conftest.py``).
"""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def skip(kind: str, why: str) -> NoReturn:
    """Skip a test of ``kind``, such as ``container``: what it is about is not so here."""
    pytest.skip(f"{kind} tests: {why}")


def skip_or_fail(kind: str, what: str) -> NoReturn:
    """Skip a test of ``kind`` on a machine of one's own that lacks something; in CI fail."""
    if os.environ.get("CI"):
        pytest.fail(f"CI must run {kind} tests: {what}")
    skip(kind, what)


def program(kind: str, name: str, *names: str) -> str:
    """Return the path of the first of these programs that is installed, which ``kind`` needs."""
    path_found = next((path for each in (name, *names) if (path := shutil.which(each))), None)
    return path_found or skip_or_fail(kind, f"no {name}")
