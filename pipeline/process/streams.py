"""Keeps standard output for the program's own events; all other output goes to standard error."""

from __future__ import annotations

import os
import sys
from typing import IO

_STDOUT, _STDERR = 1, 2


def reserve_stdout() -> IO[str]:
    """Return a stream to the real standard output; file descriptor 1 becomes standard error.

    Thus output of libraries, from Python or from C++, never mixes with that of this program.
    """
    ours = os.fdopen(os.dup(_STDOUT), "w", encoding="utf-8")
    sys.stdout.flush()
    os.dup2(_STDERR, _STDOUT)
    return ours
