"""What the exit code of a process says: how it ended."""

from __future__ import annotations

import signal

SIGNALLED = 128
"""Exit codes of processes that a signal ended are counted from here, as shells do."""


def signal_of(code: int) -> signal.Signals | None:
    """Return the signal that ended the process, ``None`` where it ended by itself.

    ``code`` is as :mod:`subprocess` counts it (minus the signal) or as shells and container
    engines do (128 plus the signal).
    """
    number = -code if code < 0 else code - SIGNALLED
    try:
        return signal.Signals(number)
    except ValueError:
        return None


def described(code: int) -> str:
    """Return how the process ended: ``ended by SIGILL (Illegal instruction)``, ``exit code 3``."""
    found = signal_of(code)
    if found is None:
        return f"exit code {code}"
    return f"ended by {found.name} ({signal.strsignal(found)})"
