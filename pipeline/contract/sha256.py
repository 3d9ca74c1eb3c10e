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


def dir_hash(files: Iterable[tuple[str, str]]) -> str:
    """Return one digest of the paths and SHA-256 of all files of a folder: in-toto's ``dirHash``.

    https://github.com/in-toto/attestation/blob/main/spec/v1/digest_set.md: the SHA-256 of what
    ``sha256sum`` says of the files, sorted by their paths.
    """
    by_path = sorted((os.fsencode(path), sha256) for path, sha256 in files)
    return sha256_of_chunks(_listed(path, sha256) for path, sha256 in by_path)


def _listed(path: bytes, sha256: str) -> bytes:
    """Return the line of ``sha256sum`` for a file."""
    if not any(sign in path for sign in (b"\\", b"\n", b"\r")):
        return b"%b  %b\n" % (sha256.encode(), path)
    escaped = path.replace(b"\\", rb"\\").replace(b"\n", rb"\n").replace(b"\r", rb"\r")
    return b"\\%b  %b\n" % (sha256.encode(), escaped)


def _chunks(stream: IO[bytes], most: float = math.inf) -> Iterator[bytes]:
    while most > 0 and (chunk := stream.read(int(min(_CHUNK, most)))):
        yield chunk
        most -= len(chunk)
