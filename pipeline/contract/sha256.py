"""SHA-256 as hexadecimal digits: of bytes, of a stream, of a file."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

_CHUNK = 1 << 20
"""Bytes read at once."""


def sha256_of_bytes(content: bytes) -> str:
    """Return the SHA-256 of ``content``."""
    return hashlib.sha256(content).hexdigest()


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, read now. Raises ``OSError``.

    As many are read as its size says: the kernel's own files have none, and some make whoever reads
    them wait.
    """
    with path.open("rb") as stream:
        return sha256_of_chunks(_chunks(stream, os.fstat(stream.fileno()).st_size))


def sha256_of_stream(stream: IO[bytes]) -> str:
    """Return the SHA-256 of what is left of ``stream``."""
    return sha256_of_chunks(_chunks(stream))


def sha256_of_chunks(chunks: Iterable[bytes]) -> str:
    """Return the SHA-256 of ``chunks``, one after the other."""
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def _chunks(stream: IO[bytes], most: float = math.inf) -> Iterator[bytes]:
    while most > 0 and (chunk := stream.read(int(min(_CHUNK, most)))):
        yield chunk
        most -= len(chunk)
