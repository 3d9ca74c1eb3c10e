"""Standard output for what a program says on purpose; everything else goes to standard error."""

from __future__ import annotations

import os
import sys
from typing import IO

_STDOUT, _STDERR = 1, 2


def only_ours_on_stdout() -> IO[str]:
    """Return a stream to the real standard output; file descriptor 1 becomes standard error.

    Library chatter, from Python or from C++, thus never mixes with what this program writes.
    """
    ours = os.fdopen(os.dup(_STDOUT), "w", encoding="utf-8")
    sys.stdout.flush()
    os.dup2(_STDERR, _STDOUT)
    return ours
