"""Ends a process whose step takes longer than it may."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class StepTimer:
    """Measures the steps of one process, each from its beginning."""

    def __init__(self, seconds: float) -> None:
        """``seconds`` is the time that each step may take."""
        self._seconds = seconds
        self._timer: threading.Timer | None = None
        self._end: Callable[[], None] | None = None
        self.exceeded: float | None = None
        """The limit in seconds, once a step has exceeded it."""

    @contextmanager
    def ending(self, end: Callable[[], None]) -> Iterator[None]:
        """Call ``end`` if a step exceeds its time while the block runs; the first begins now."""
        self._end = end
        self.restart()
        try:
            yield
        finally:
            self._end = None
            self._stop()

    def restart(self) -> None:
        """Begin to measure another step."""
        self._stop()
        if self._end is not None:
            self._timer = threading.Timer(self._seconds, self._exceed, [self._end])
            self._timer.daemon = True
            self._timer.start()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _exceed(self, end: Callable[[], None]) -> None:
        self.exceeded = self._seconds
        end()
