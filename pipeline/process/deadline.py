"""Time limits for what comes with a model or a data set: code, templates, patterns."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise ``TimeoutError`` in the block once it has taken ``seconds``.

    It interrupts Python code, between two of its instructions. Where there is no interval timer
    (Windows), and outside the main thread, which alone gets signals, nothing is limited.
    """
    on_main = threading.current_thread() is threading.main_thread()
    if not on_main or sys.platform == "win32":
        yield
        return

    def end(*_: Any) -> None:
        raise TimeoutError(f"it takes longer than {seconds:g} s")

    handler = signal.signal(signal.SIGALRM, end)
    started = time.monotonic()
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        # A timer that ran before goes on, as if it had never been replaced.
        rest = max(left - (time.monotonic() - started), 1e-3) if left else 0
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, rest, interval)


@contextmanager
def cpu_limit(seconds: float) -> Iterator[None]:
    """End this process by ``SIGVTALRM`` once the block has taken ``seconds`` of CPU time.

    For native code, which no exception interrupts. Where there is no such timer (Windows), nothing
    is limited.
    """
    if sys.platform == "win32":
        yield
        return
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
