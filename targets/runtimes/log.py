"""The log of a process: whatever that writes, it does not fill the disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from targets.atomic import naming

MOST = 64 << 20
"""Bytes of a log, of all the processes that write it: what a long training says is a hundredth."""
_END = 1 << 18
"""Bytes of the end that are kept of a process that writes more: the end says why it failed."""


class Log:
    """Keeps all of what comes first and the last of what comes after."""

    def __init__(self, file: IO[bytes]) -> None:
        """``file`` is open at its end."""
        self._file = file
        self._room = max(0, MOST - file.tell())
        self._end = b""
        self._left_out = 0

    def write(self, data: bytes) -> None:
        """Add ``data``."""
        if data[: self._room]:
            with naming(Path(self._file.name)):
                self._file.write(data[: self._room])
        rest = data[self._room :]
        self._room -= len(data) - len(rest)
        end = self._end + rest
        self._end = end[-_END:]
        self._left_out += len(end) - len(self._end)

    def finish(self) -> None:
        """Write the end that was kept, and how much is missing before it."""
        if self._left_out:
            self._file.write(f"\n... {self._left_out:,} bytes left out ...\n".encode())
        self._file.write(self._end)


@contextmanager
def opened_log(path: Path) -> Iterator[Log]:
    """Yield the log ``path``, to which what a process writes is added."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab", buffering=0) as file:
        log = Log(file)
        try:
            yield log
        finally:
            with suppress(OSError):  # on a full disk there is more to say than this
                log.finish()
