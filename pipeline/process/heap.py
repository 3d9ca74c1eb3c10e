"""The heap of this process, as the C library keeps it."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of ``mallopt``: https://www.gnu.org/software/libc/manual/html_node/Malloc-Tunable-Parameters.html"""
_LARGEST = 32 << 20
"""The largest memory that the heap takes. What is larger goes back to the system when it is freed,
so that holes of these do not add up."""
_ALL = (1 << 31) - 1


@contextmanager
def kept_heap() -> Iterator[None]:
    """Inside, the heap keeps the memory that is freed, for what is allocated next.

    A training step allocates the tensors that the step before freed. Otherwise the system would
    take their memory back, and clear it for the next one. It gets it when the block ends. Where the
    C library is not GNU's, nothing changes.
    """
    library = None if sys.platform == "win32" else ctypes.CDLL(None)
    setting = getattr(library, "mallopt", None)
    if library is None or setting is None:
        yield
        return
    setting(_MMAP_THRESHOLD, _LARGEST)
    setting(_TRIM_THRESHOLD, _ALL)
    try:
        yield
    finally:
        setting(_TRIM_THRESHOLD, 2 * _LARGEST)  # as it is where both follow from what is freed
        library.malloc_trim(0)
