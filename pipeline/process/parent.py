"""Ends a process with the one that started it, where the kernel can tell: on Linux."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1
"""https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html"""


def end_with_parent(parent: int, name: str) -> None:
    """Have this process get the signal ``name`` when the process ``parent``, which started it, is
    gone; at once if it is gone by now. It is a name because Windows defines only some signals."""
    if _LIBC is None:
        return
    number = signal.Signals[name]
    _LIBC.prctl(_PR_SET_PDEATHSIG, int(number))
    if os.getppid() != parent:
        os.kill(os.getpid(), number)
