"""Archives whose bytes depend only on the names and contents of their files.

They are plain tar files (POSIX.1-2001, ``pax``), because int4 weights can hardly be compressed, and
the output of a compressor differs between its versions. Order, times, owners and modes are fixed
(https://reproducible-builds.org/docs/archives/).
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from pipeline.contract.sha256 import sha256_of_stream
from pipeline.reading.archives import BROKEN, open_archive
from targets.errors import CheckFailed

MTIME = 315532800
"""1980-01-01 UTC, the earliest time that zip files can hold too."""

_MODE = 0o644
_CHUNK = 1 << 20


@dataclass(frozen=True)
class ArchiveMember:
    """One file of an archive."""

    path: str
    """POSIX path, relative."""
    bytes: int
    sha256: str


def write_archive(path: Path, files: Mapping[str, Path | bytes]) -> None:
    """Write ``files``, by POSIX path in the archive, to ``path``."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in sorted(files.items()):
            info = tarfile.TarInfo(name)
            info.mtime, info.mode = MTIME, _MODE
            if isinstance(content, bytes):
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
                continue
            info.size = content.stat().st_size
            with content.open("rb") as stream:
                archive.addfile(info, stream)


def read_members(path: Path) -> tuple[ArchiveMember, ...]:
    """Return the files of an archive with their digests. Nothing is written.

    Raises ``CheckFailed`` if it cannot be read, or if a member is not a plain file below the
    archive's own folder.
    """
    with _complete(path):
        return tuple(
            ArchiveMember(info.name, info.size, sha256_of_stream(stream))
            for info, stream in _streams(path)
        )


def read_file(path: Path, name: str) -> bytes:
    """Return the content of one file of an archive. Raises ``CheckFailed`` if it is missing."""
    with _complete(path):
        for info, stream in _streams(path):
            if info.name == name:
                return stream.read()
    raise CheckFailed(f"{path.name} holds no {name}")


def extract(path: Path, folder: Path) -> None:
    """Write the files of an archive below ``folder``, which must be empty.

    Raises ``CheckFailed`` as :func:`read_members` does, before anything is written.
    """
    read_members(path)
    for info, stream in _streams(path):
        target = folder / info.name
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            while chunk := stream.read(_CHUNK):
                file.write(chunk)


def path_problem(path: str) -> str:
    """Return why ``path`` is not a relative POSIX path without ``..``; empty if it is one."""
    parts = PurePosixPath(path).parts
    if not parts or "\0" in path or "\\" in path or ":" in parts[0]:
        return "is not a name for a file"
    if path.startswith("/") or ".." in parts:
        return "climbs out of the folder"
    return "" if str(PurePosixPath(path)) == path else "is not written as a plain path"


def _streams(path: Path) -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
    seen: set[str] = set()
    with open_archive(path) as archive:
        for info in archive:
            problem = _problem(info, seen)
            if problem:
                raise CheckFailed(f"{path.name}: {info.name!r} {problem}", _DISTRUST)
            seen.add(info.name)
            stream = archive.extractfile(info)
            assert stream is not None  # noqa: S101 - a plain file has contents
            yield info, stream
        _require_end(path, archive.offset)


_DISTRUST = "do not use this release: no release that Quern makes looks like this"


@contextmanager
def _complete(path: Path) -> Iterator[None]:
    """Raise ``CheckFailed`` where the archive cannot be read, or not to the end of a file in it."""
    try:
        yield
    except BROKEN as error:
        raise CheckFailed(f"{path.name} is not a complete archive: {error}", _DISTRUST) from None


def _require_end(path: Path, offset: int) -> None:
    """Raise ``CheckFailed`` unless only zeros follow, because tarfile stops at a damaged header."""
    with path.open("rb") as file:
        file.seek(offset)
        while chunk := file.read(_CHUNK):
            if chunk.strip(b"\0"):
                raise CheckFailed(f"{path.name} is not a complete archive", _DISTRUST)


def _problem(info: tarfile.TarInfo, seen: set[str]) -> str:
    """Return the problem of a member; empty if there is none."""
    problem = path_problem(info.name)
    if problem:
        return problem
    if not info.isreg() or info.issparse():
        return "is not a plain file"
    return "is there twice" if info.name in seen else ""
