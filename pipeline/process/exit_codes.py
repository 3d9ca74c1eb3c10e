"""Exit codes of processes in words: how a process ended."""

from __future__ import annotations

import signal

SIGNALLED = 128
"""A process that a signal ended has this exit code plus the signal's number, as in shells."""

_CRASHES = frozenset({"SIGABRT", "SIGBUS", "SIGFPE", "SIGSEGV", "SIGVTALRM"})
"""Signals that end a process for what it did itself: ``SIGVTALRM`` for a call that did not end
(:func:`pipeline.process.deadline.cpu_limit`). ``SIGILL`` is the CPU's fault."""

_WINDOWS = {
    0xC0000005: ("SIGSEGV", "access violation"),
    0xC0000006: ("SIGBUS", "in-page error"),
    0xC000001D: ("SIGILL", "illegal instruction"),
    0xC0000094: ("SIGFPE", "integer division by zero"),
    0xC00000FD: ("SIGSEGV", "stack overflow"),
    0xC0000374: ("SIGABRT", "heap corruption"),
    0xC0000409: ("SIGABRT", "fail fast, as by abort()"),
}
"""Exit codes of processes that an exception ended on Windows, which has no such signals, with the
signal that does so elsewhere:
https://learn.microsoft.com/openspecs/windows_protocols/ms-erref/596a1078-e883-4972-9bbc-49e60bebca55
"""


def signal_of(code: int) -> str:
    """Return the name of the signal that ended the process; empty if none did.

    ``code`` is that of :mod:`subprocess` (minus the signal) or of shells and container engines (128
    plus the signal). The result is a name because Windows defines only some of the signals.
    """
    if code in _WINDOWS:
        return _WINDOWS[code][0]
    number = _signal(code)
    return number.name if number is not None else ""


def has_crashed(code: int) -> bool:
    """Return whether the process ended by a signal for what it did itself."""
    return signal_of(code) in _CRASHES


def describe_exit(code: int) -> str:
    """Return how the process ended: ``ended by SIGILL (Illegal instruction)``, ``exit code 3``."""
    if code in _WINDOWS:
        return f"ended by {_WINDOWS[code][1]} (0x{code:08X})"
    number = _signal(code)
    if number is None:
        return f"exit code {code}"
    return f"ended by {number.name} ({signal.strsignal(number)})"


def _signal(code: int) -> signal.Signals | None:
    try:
        return signal.Signals(-code if code < 0 else code - SIGNALLED)
    except ValueError:
        return None
