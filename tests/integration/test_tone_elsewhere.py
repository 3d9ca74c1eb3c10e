"""The shipped example, built on another machine's engine behind TLS and behind SSH."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from tests.benchmarks.systems import made_here, measure

pytestmark = [pytest.mark.engine, pytest.mark.slow]


def test_it_is_the_same_as_here(cpu_image: None) -> None:  # noqa: ARG001 - it is sent there
    folder = Path(tempfile.mkdtemp(prefix="quern-tone-"))  # short: sockets lie in it
    try:
        _, ways = measure(folder)
        here = made_here(folder / "here")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert len(here) >= 4
    assert ways == [here, here]
