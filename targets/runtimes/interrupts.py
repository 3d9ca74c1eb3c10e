"""Ends a command cleanly when the user, or whatever started it, stops it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from targets.errors import Interrupted

# Windows has no SIGHUP.
_STOPPING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
_ENDING_SECONDS = 5
"""Time to end within. Cleaning up goes on through further signals; after that they count again."""


@contextmanager
def heeding_first_signal() -> Iterator[None]:
    """Have Ctrl-C, SIGTERM or SIGHUP raise ``KeyboardInterrupt`` in the block, which is all that
    this process does.

    What stops builds often signals more than once: a terminal and the front door, or a CI service
    that loses patience. Only the first signal counts; the others come while the process ends.
    """
    _install(_Once())
    try:
        yield
    except KeyboardInterrupt:  # while modules are imported, or at the very end
        raise SystemExit(Interrupted.exit_code) from None
    finally:
        # Python gives the signals their default action when it ends, unless they are ignored.
        for number in _STOPPING:
            signal.signal(number, signal.SIG_IGN)


@contextmanager
def stoppable() -> Iterator[None]:
    """Do so while the block runs, where that is not so anyway.

    Only the main thread of a process gets signals; elsewhere the block just runs.
    """
    on_main = threading.current_thread() is threading.main_thread()
    if not on_main or isinstance(signal.getsignal(signal.SIGINT), _Once):
        yield
        return
    before = _install(_Once())
    try:
        yield
    finally:
        for number, was in before.items():
            signal.signal(number, was)


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn Ctrl-C, SIGTERM and SIGHUP inside the block into :class:`Interrupted`."""
    with stoppable():
        try:
            yield
        except KeyboardInterrupt:
            raise Interrupted(
                "stopped; nothing half-written is left", "run again: finished steps are kept"
            ) from None


@contextmanager
def ignoring_signals() -> Iterator[None]:
    """Ignore those signals inside the block, so that cleaning up is not interrupted."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _install(handler: _Once) -> Mapping[signal.Signals, Any]:
    """Install ``handler``; return what was there."""
    before = {number: signal.getsignal(number) for number in _STOPPING}
    for number, was in before.items():
        # After `nohup`, the end of the terminal is not the end of the command.
        if number == signal.SIGINT or was is not signal.SIG_IGN:
            signal.signal(number, handler)
    return before


class _Once:
    """A handler that interrupts the program, and not again while it ends."""

    def __init__(self) -> None:
        self._since = float("-inf")

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if now - self._since > _ENDING_SECONDS:
            self._since = now
            raise KeyboardInterrupt
