"""Tar archives: their members' contents, then their headers, then the bytes after them."""

from __future__ import annotations

import lzma
import os
import shutil
import tarfile
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import IO, cast

from targets.release.differences import raw_bytes
from targets.release.differences.difference import (
    AT_MOST,
    Difference,
    Pair,
    Unreadable,
    bounded,
)
from targets.release.differences.kinds import is_known
from targets.release.differences.text_lines import common_ends
from targets.release.differences.words import counted, short, sides

CompareFolders = Callable[[Path, Path, int], tuple[Difference, ...]]
"""Finds what differs between two folders, at most so many for each file."""

_CHUNK = 1 << 20
_DAMAGE = (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError)
_FIELDS = {
    "mode": "mode",
    "mtime": "mtime",
    "uid": "owner (uid)",
    "gid": "group (gid)",
    "uname": "owner (uname)",
    "gname": "group (gname)",
    "linkname": "link target",
    "devmajor": "device",
    "devminor": "device",
    "pax_headers": "pax headers",
}
_TYPES = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file of the old type",
    tarfile.DIRTYPE: "folder",
    tarfile.SYMTYPE: "link",
    tarfile.LNKTYPE: "hard link",
}


@dataclass(frozen=True)
class _Archive:
    tar: tarfile.TarFile
    members: dict[str, tarfile.TarInfo]
    names: list[str]
    end: int
    """Where the last member ends, in bytes of the unpacked archive."""


def compare_archives(
    released: Path,
    rebuilt: Path,
    compare: CompareFolders,
    at_most: int = AT_MOST,
    name: str = "",
) -> tuple[Difference, ...]:
    """Return what differs between two archives, by member; at most ``at_most`` for each.

    What is true of the archive as a whole stands under its own name. With a ``name``, that is it,
    and members stand below it. Members that differ are unpacked to a temporary folder, so there
    must be room for them, and ``compare`` finds what differs there.
    """
    if raw_bytes.same_bytes(released, rebuilt):
        return ()
    pair = Pair(name or released.name, released, rebuilt)
    try:
        found = tuple(_differences(pair, compare, at_most))
    except Unreadable as error:
        what = f"{error}; {raw_bytes.in_words(released, rebuilt)}"
        return (Difference(file=pair.name, what=what),)
    if not name:
        return found
    return tuple(
        one if one.file == name else one.model_copy(update={"file": f"{name}/{one.file}"})
        for one in found
    )


def _differences(pair: Pair, compare: CompareFolders, at_most: int) -> Iterator[Difference]:
    with _opened(pair.released, "released") as old, _opened(pair.rebuilt, "rebuilt") as new:
        found = False
        contents = _contents(old, new, compare, at_most)
        headers = (
            one
            for name in old.members
            if name in new.members
            for one in bounded(name, _headers(name, old, new), at_most)
        )
        archive = bounded(pair.name, _whole(pair, old, new), at_most)
        for one in chain(contents, headers, archive):
            found = True
            yield one
    if not found:
        what = raw_bytes.in_words(pair.released, pair.rebuilt)
        place = _member_at(pair, old) if what else ""
        yield Difference(
            file=pair.name,
            where="bytes",
            what=f"members and headers read the same, the archive is written otherwise: "
            f"{what}{place}",
        )


@contextmanager
def _opened(path: Path, side: str) -> Iterator[_Archive]:
    """Open an archive. What turns out damaged, also later on, is raised as ``Unreadable``."""
    try:
        with tarfile.open(path) as tar:
            infos = tar.getmembers()
            end = max((info.offset_data + _padded(info) for info in infos), default=0)
            yield _Archive(tar, {info.name: info for info in infos}, [i.name for i in infos], end)
    except _DAMAGE as error:
        raise Unreadable(side, f"as tar archive: {error}") from None


def _padded(info: tarfile.TarInfo) -> int:
    return -(-info.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE if info.isreg() else 0


def _contents(
    old: _Archive, new: _Archive, compare: CompareFolders, at_most: int
) -> tuple[Difference, ...]:
    names = old.members.keys() | new.members.keys()
    unsafe = sorted(name for name in names if not _is_safe(name))
    first = tuple(
        Difference(file=name, where="name", what="leads outside the archive; it is not unpacked")
        for name in unsafe
    )
    files = [
        {name for name, info in side.members.items() if info.isreg() and _is_safe(name)}
        for side in (old, new)
    ]
    missing = tuple(
        Difference(file=name, what=f"only {side}: {_described(one.members[name])}")
        for one, other, side in ((old, new, "released"), (new, old, "rebuilt"))
        for name in one.members
        if name not in other.members
    )
    same = {name for name in files[0] & files[1] if _same(old, new, name)}
    unequal = (files[0] & files[1]) - same
    if not unequal:
        return first + missing
    # A model is read together with its data files, which have any name.
    if any(name.endswith(".onnx") or not is_known(name) for name in unequal):
        same = {name for name in same if name.endswith(".onnx") or not is_known(name)}
    else:
        same = set()
    with tempfile.TemporaryDirectory(prefix="quern-differences-") as folder:
        folders = Path(folder, "released"), Path(folder, "rebuilt")
        for name in unequal | same:
            _unpack(old, name, folders[0])
            if name in same:
                (folders[1] / name).parent.mkdir(parents=True, exist_ok=True)
                os.link(folders[0] / name, folders[1] / name)
            else:
                _unpack(new, name, folders[1])
        return first + missing + compare(*folders, at_most)


def _is_safe(name: str) -> bool:
    path = PurePosixPath(name)
    return (
        not path.is_absolute() and ".." not in path.parts and "\\" not in name and ":" not in name
    )


def _same(old: _Archive, new: _Archive, name: str) -> bool:
    if old.members[name].size != new.members[name].size:
        return False
    first, second = (_stream(side, name) for side in (old, new))
    while chunk := first.read(_CHUNK):
        if chunk != second.read(_CHUNK):
            return False
    return True


def _unpack(archive: _Archive, name: str, folder: Path) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        shutil.copyfileobj(_stream(archive, name), file, _CHUNK)


def _stream(archive: _Archive, name: str) -> IO[bytes]:
    stream = archive.tar.extractfile(archive.members[name])
    if stream is None:
        raise tarfile.ReadError(f"{name} is not a file")
    return stream


def _headers(name: str, old: _Archive, new: _Archive) -> Iterator[Difference]:
    released, rebuilt = old.members[name], new.members[name]
    if released.type != rebuilt.type:
        what = f"{_type(released)} released, {_type(rebuilt)} rebuilt"
        yield Difference(file=name, where="type", what=what)
    for field, where in _FIELDS.items():
        values = [getattr(info, field) for info in (released, rebuilt)]
        if values[0] == values[1]:
            continue
        if field == "mode":
            what = f"{values[0]:04o} released, {values[1]:04o} rebuilt"
        else:
            what = sides(*values)
        yield Difference(file=name, where=where, what=what)


def _whole(pair: Pair, old: _Archive, new: _Archive) -> Iterator[Difference]:
    for side, word in ((old, "released"), (new, "rebuilt")):
        for name, count in Counter(side.names).items():
            if count > 1 and old.names.count(name) != new.names.count(name):
                yield Difference(
                    file=pair.name, where=name, what=f"stands {count:,} times in the {word} archive"
                )
    shared = (
        [name for name in old.names if name in new.members],
        [name for name in new.names if name in old.members],
    )
    if shared[0] != shared[1] and Counter(shared[0]) == Counter(shared[1]):
        at, _ = common_ends(*shared)
        yield Difference(
            file=pair.name,
            where="order",
            what=f"the members stand in another order, from number {at + 1:,} on: "
            f"{short(shared[0][at])} released, {short(shared[1][at])} rebuilt",
        )
    if old.tar.pax_headers != new.tar.pax_headers:
        what = sides(old.tar.pax_headers, new.tar.pax_headers)
        yield Difference(file=pair.name, where="pax headers", what=what)
    yield from _after(pair, old, new)


def _after(pair: Pair, old: _Archive, new: _Archive) -> Iterator[Difference]:
    """Yield how the bytes differ that follow the last member."""
    rests = []
    for archive in (old, new):
        stream = cast("IO[bytes]", archive.tar.fileobj)  # None only for a closed archive
        stream.seek(archive.end)
        length = zeros = 0
        while chunk := stream.read(_CHUNK):
            length += len(chunk)
            zeros += chunk.count(0)
        rests.append((length, length - zeros))
    # Archives end in zeros that fill up a record: how many follows from what is before them.
    if rests[0] != rests[1] and (old.end == new.end or any(filled for _, filled in rests)):
        texts = [
            f"{counted(length, 'byte')}" + (f" ({filled:,} of them not zero)" if filled else "")
            for length, filled in rests
        ]
        yield Difference(
            file=pair.name,
            where="end of the archive",
            what=f"after the last member that can be read: {texts[0]} released, {texts[1]} rebuilt",
        )


def _member_at(pair: Pair, archive: _Archive) -> str:
    """Return in which member's header or padding two plain archives begin to differ."""
    with pair.released.open("rb") as first:
        if first.read(2) == b"\x1f\x8b":
            return ""
    with pair.released.open("rb") as first, pair.rebuilt.open("rb") as second:
        offset = 0
        while (a := first.read(tarfile.BLOCKSIZE)) and a == second.read(tarfile.BLOCKSIZE):
            offset += len(a)
    for info in archive.members.values():
        if info.offset <= offset < info.offset_data:
            return f", in the header of {info.name}"
        if info.offset_data <= offset < info.offset_data + _padded(info):
            return f", in what fills up {info.name}"
    return ", after the last member"


def _described(info: tarfile.TarInfo) -> str:
    return counted(info.size, "byte") if info.isreg() else _type(info)


def _type(info: tarfile.TarInfo) -> str:
    return f"a {_TYPES.get(info.type, 'member of type ' + repr(info.type))}"
