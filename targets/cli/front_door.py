"""Ends a command with the front door that started it, however that ends."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

FRONT_DOOR = "QUERN_FRONT_DOOR"
"""Variable with the process ID of the front door; a command called by itself has none."""

_PR_SET_PDEATHSIG = 1


def end_with_front_door() -> None:
    """Have this process stopped, as by SIGTERM, when the front door that started it is gone.

    Only Linux can tell.
    """
    parent = os.environ.pop(FRONT_DOOR, "")
    if not (parent and sys.platform == "linux"):
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
    if str(os.getppid()) != parent:
        os.kill(os.getpid(), signal.SIGTERM)
