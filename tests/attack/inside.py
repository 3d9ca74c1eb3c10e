"""Runs Quern's command line in this process, where thousands of runs fit into seconds."""

from __future__ import annotations

import io
import resource
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from targets.cli.main import run

SECONDS = 5
"""Longest that a run may take, of a CPU's time: how busy a machine is does not count."""
_WAITING = 60
"""Longest that a run may take in all, in seconds: it could wait for ever without any CPU."""
_MEMORY = 1 << 30
"""Bytes that a run may take more than this process had before."""


class TooSlow(BaseException):
    """A run took too long. No handler of errors catches it."""


@dataclass(frozen=True)
class Ended:
    """How a run ended and what it said."""

    code: int
    said: str


def quern(*arguments: str, environment: Mapping[str, str] | None = None) -> Ended:
    """Run one command to its end.

    Whatever is not an end of Quern's own passes: an exception that nobody caught, :class:`TooSlow`,
    ``MemoryError``.
    """
    output = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    with (
        pytest.MonkeyPatch.context() as process,
        redirect_stdout(output),
        redirect_stderr(output),
        _bounded(),
    ):
        process.setattr(sys, "argv", ["quern", *arguments])
        for name, value in (environment or {}).items():
            process.setenv(name, value)
        try:
            run()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
    buffer = output.buffer
    assert isinstance(buffer, io.BytesIO)
    return Ended(code, buffer.getvalue().decode("utf-8", "replace"))


@contextmanager
def _bounded() -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise TooSlow

    before = {number: signal.signal(number, stop) for number in (signal.SIGALRM, signal.SIGPROF)}
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_address_space() + _MEMORY, hard))
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.setitimer(signal.ITIMER_REAL, _WAITING)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        for number, handler in before.items():
            signal.signal(number, handler)


def _address_space() -> int:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    return pages * resource.getpagesize()
