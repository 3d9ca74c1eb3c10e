"""Ends a command with the front door that started it, however that ends."""

from __future__ import annotations

import os

from pipeline.process.parent import end_with_parent

FRONT_DOOR = "QUERN_FRONT_DOOR"
"""Variable with the process ID of the front door; a command called by itself has none."""


def end_with_front_door() -> None:
    """Have this process stopped, as by SIGTERM, when the front door that started it is gone.

    Only Linux can tell.
    """
    parent = os.environ.pop(FRONT_DOOR, "")
    if not parent.isdecimal():
        return
    end_with_parent(int(parent), "SIGTERM")
