"""The shipped example, built on another machine's engine behind TLS and behind SSH."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from tests.benchmarks.systems import measure

# Three whole builds, and an image that travels.
pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(3600)]


def test_it_is_the_same_as_here(cpu_image: None) -> None:  # noqa: ARG001 - it is sent there
    folder = Path(tempfile.mkdtemp(prefix="quern-tone-"))  # short: sockets lie in it
    try:
        here, *elsewhere = measure(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert len(here.results) >= 4
    assert [one.results for one in elsewhere] == [here.results] * 4
