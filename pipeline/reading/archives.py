"""Opens tar archives that others wrote."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.reading.files import MB

BROKEN = (tarfile.TarError, EOFError, ValueError, OverflowError)
"""What :mod:`tarfile` raises for archives that are cut off, or whose headers hold nonsense."""

_MOST_AT_ONCE = 256 * MB


@contextmanager
def open_archive(path: Path) -> Iterator[tarfile.TarFile]:
    """Yield the uncompressed archive at ``path``. Raises ``OSError``, and what is in
    :data:`BROKEN`."""
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise tarfile.ReadError("it is no regular file")
    with _File(path) as file, tarfile.open(fileobj=file, mode="r:") as archive:
        yield archive


class _File(io.FileIO):
    """A file of which no more is asked than it has: :mod:`tarfile` asks for what a header says, and
    Python makes room for that first."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Return at most ``size`` bytes. Raises ``tarfile.ReadError`` where that is too much."""
        left = os.fstat(self.fileno()).st_size - self.tell()
        asked = left if size is None or size < 0 else min(size, left)
        if asked > _MOST_AT_ONCE:
            raise tarfile.ReadError(f"a header of {asked:,} bytes")
        return super().read(max(0, asked)) or b""
