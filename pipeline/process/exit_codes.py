"""What the exit code of a process says: how it ended."""

from __future__ import annotations

import signal

SIGNALLED = 128
"""Exit codes of processes that a signal ended are counted from here, as shells do."""


def signal_of(code: int) -> str:
    """Return the name of the signal that ended the process, empty where it ended by itself.

    ``code`` is as :mod:`subprocess` counts it (minus the signal) or as shells and container
    engines do (128 plus the signal). A name, because Windows knows only some of the signals.
    """
    found = _signal(code)
    return found.name if found is not None else ""


def described(code: int) -> str:
    """Return how the process ended: ``ended by SIGILL (Illegal instruction)``, ``exit code 3``."""
    found = _signal(code)
    if found is None:
        return f"exit code {code}"
    return f"ended by {found.name} ({signal.strsignal(found)})"


def _signal(code: int) -> signal.Signals | None:
    try:
        return signal.Signals(-code if code < 0 else code - SIGNALLED)
    except ValueError:
        return None
