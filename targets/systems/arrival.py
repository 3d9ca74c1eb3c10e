"""Unpacks what a system sends: regular files and folders below one name, and nothing else.

Neither the system nor what ran there is believed. Headers are read one block at a time, so that
none takes more memory than is looked at; names cannot lead elsewhere; and no more is written than
was asked for.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_LONGEST_NAMES = 1 << 16
"""Largest extended header that is read, in bytes: it holds a path."""
_MOST_FILES = 100_000
_PLAIN = (tarfile.REGTYPE, tarfile.AREGTYPE)
_PIECE = 1 << 20


class Refused(Exception):
    """What was sent is not what was asked for."""


class CutOff(Exception):
    """The stream ended before its time: a connection dropped."""


def unpack(stream: Iterator[bytes], name: str, folder: Path, largest: int) -> None:
    """Write the tar ``stream``, whose only top entry is ``name``, to ``folder/name``.

    Raises :class:`Refused` for anything but files and folders of at most ``largest`` bytes
    together, :class:`CutOff` if the stream is not whole, and ``OSError``.
    """
    source = _Stream(stream)
    left, seen = largest, 0
    while (header := _next_header(source)) is not None:
        seen += 1
        if seen > _MOST_FILES:
            raise Refused(f"more than {_MOST_FILES:,} files")
        place = folder.joinpath(*_parts(header.name, name))
        if header.type == tarfile.DIRTYPE:
            place.mkdir(exist_ok=True)
        elif header.type in _PLAIN:
            left -= header.size
            if left < 0:
                raise Refused(f"more than the {largest:,} bytes that were to come")
            _write(source, header.size, place)
        else:
            raise Refused(f"what is neither file nor folder: {header.name!r}")
    if not seen:
        raise CutOff


def _write(source: _Stream, size: int, place: Path) -> None:
    # A name that comes twice, or a folder under that name, is an error: nothing is replaced.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    try:
        file = os.open(place, flags, 0o644)
    except (FileExistsError, NotADirectoryError, FileNotFoundError) as error:
        raise Refused(f"a name that cannot be: {place.name!r}") from error
    with os.fdopen(file, "wb") as target:
        rest = size
        while rest:
            piece = source.read(min(rest, _PIECE))
            target.write(piece)
            rest -= len(piece)
    source.read(-size % tarfile.BLOCKSIZE)


def _parts(path: str, name: str) -> tuple[str, ...]:
    parts = PurePosixPath(path).parts
    if not path.isprintable() or not parts or parts[0] != name or ".." in parts or "\\" in path:
        raise Refused(f"a name that was not asked for: {path[:200]!r}")
    return parts


def _next_header(source: _Stream) -> tarfile.TarInfo | None:
    """Return the next entry, with what extended headers before it say; ``None`` at the end."""
    path: str | None = None
    size: int | None = None
    while True:
        block = source.read(tarfile.BLOCKSIZE)
        if not block.strip(b"\0"):
            return None
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise Refused(f"no tar: {error}") from None
        if header.size < 0:
            raise Refused("a size below zero")
        if header.type == tarfile.XHDTYPE:
            records = _records(_extended(source, header.size))
            path = records.get("path", path)
            size = _number(records["size"]) if "size" in records else size
        elif header.type == tarfile.GNUTYPE_LONGNAME:
            path = _extended(source, header.size).rstrip(b"\0").decode("utf-8", "surrogateescape")
        elif header.type == tarfile.XGLTYPE:
            _extended(source, header.size)
        else:
            header.name = header.name if path is None else path
            header.size = header.size if size is None else size
            return header


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > 20:
        raise Refused("a size that is no number")
    return int(text)


def _extended(source: _Stream, size: int) -> bytes:
    if size > _LONGEST_NAMES:
        raise Refused(f"a header of {size:,} bytes")
    content = source.read(size)
    source.read(-size % tarfile.BLOCKSIZE)
    return content


def _records(content: bytes) -> dict[str, str]:
    """Return the records of a PAX header: ``LENGTH KEY=VALUE`` and a line feed each."""
    records = {}
    while content:
        length, _, _ = content.partition(b" ")
        if not length.isdigit() or not 0 < int(length[:6]) <= len(content):
            raise Refused("a broken header")
        record, content = content[: int(length)], content[int(length) :]
        key, equals, value = record[len(length) + 1 :].removesuffix(b"\n").partition(b"=")
        if not equals:
            raise Refused("a broken header")
        records[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
    return records


class _Stream:
    """Pieces of any size, read in pieces of a given one."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._held = b""

    def read(self, size: int) -> bytes:
        """Return exactly ``size`` bytes. Raises :class:`CutOff` if there are fewer."""
        while len(self._held) < size:
            piece = next(self._pieces, None)
            if piece is None:
                raise CutOff
            self._held += piece
        taken, self._held = self._held[:size], self._held[size:]
        return taken
