"""Streams a build context to the engine as a tar, without copying wheels on disk."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

_CHUNK = 1 << 20


def tar_stream(files: Mapping[str, Path | bytes]) -> Iterator[bytes]:
    """Yield an uncompressed tar of ``files`` (name in the tar → content or path).

    Names are sorted, times and owners zero: the same content gives the same bytes.
    """
    for name, source in sorted(files.items()):
        entry = tarfile.TarInfo(name)
        entry.mode = 0o644
        entry.size = len(source) if isinstance(source, bytes) else source.stat().st_size
        yield entry.tobuf(tarfile.PAX_FORMAT)
        if isinstance(source, bytes):
            yield source
        else:
            yield from read_chunks(source)
        yield b"\0" * (-entry.size % tarfile.BLOCKSIZE)
    yield b"\0" * (2 * tarfile.BLOCKSIZE)


def read_chunks(path: Path) -> Iterator[bytes]:
    """Yield the content of ``path`` piece by piece."""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
