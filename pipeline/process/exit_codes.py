"""Exit codes of processes in words: how a process ended."""

from __future__ import annotations

import signal

SIGNALLED = 128
"""A process that a signal ended has this exit code plus the signal's number, as in shells."""

_CRASHES = frozenset({"SIGABRT", "SIGBUS", "SIGFPE", "SIGSEGV", "SIGVTALRM"})
"""Signals that end a process for what it did itself: ``SIGVTALRM`` for a call that did not end
(:func:`pipeline.process.deadline.cpu_limit`). ``SIGILL`` is the CPU's fault."""


def signal_of(code: int) -> str:
    """Return the name of the signal that ended the process; empty if none did.

    ``code`` is that of :mod:`subprocess` (minus the signal) or of shells and container engines (128
    plus the signal). The result is a name because Windows defines only some of the signals.
    """
    number = _signal(code)
    return number.name if number is not None else ""


def has_crashed(code: int) -> bool:
    """Return whether the process ended by a signal for what it did itself."""
    return signal_of(code) in _CRASHES


def describe_exit(code: int) -> str:
    """Return how the process ended: ``ended by SIGILL (Illegal instruction)``, ``exit code 3``."""
    number = _signal(code)
    if number is None:
        return f"exit code {code}"
    return f"ended by {number.name} ({signal.strsignal(number)})"


def _signal(code: int) -> signal.Signals | None:
    try:
        return signal.Signals(-code if code < 0 else code - SIGNALLED)
    except ValueError:
        return None
