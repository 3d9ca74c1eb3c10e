"""Opens tar archives that others wrote."""

from __future__ import annotations

import tarfile
from pathlib import Path

BROKEN = (tarfile.TarError, EOFError, ValueError, OverflowError)
"""What :mod:`tarfile` raises for archives that are cut off, or whose headers hold nonsense."""


def open_archive(path: Path) -> tarfile.TarFile:
    """Return the uncompressed archive at ``path``. Raises ``OSError``, and what is in
    :data:`BROKEN`."""
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise tarfile.ReadError("it is no regular file")
    return tarfile.open(path, "r:")
