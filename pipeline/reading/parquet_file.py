"""Checks that a file is Parquet, from its first and last bytes. Free of any ML library."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.reading.files import UnreadableError

_MAGIC = b"PAR1"
_TAIL = 8
"""The length of the metadata, in four bytes (little endian), and the magic number once more
(https://parquet.apache.org/docs/file-format/)."""


def require_parquet(file: Path) -> None:
    """Raise :class:`UnreadableError` unless ``file`` begins and ends as a Parquet file does."""
    with file.open("rb") as stream:
        begin = stream.read(len(_MAGIC))
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - _TAIL))
        end = stream.read(_TAIL)
    if begin != _MAGIC:
        raise UnreadableError("it is no Parquet file")
    metadata = int.from_bytes(end[:4], "little")
    if not end.endswith(_MAGIC) or not 0 < metadata <= size - len(_MAGIC) - _TAIL:
        raise UnreadableError("it is cut short: the end of a Parquet file is missing")
