"""Tar archives: which members differ, each by its kind."""

from __future__ import annotations

import lzma
import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from targets.release.differences import raw_bytes
from targets.release.differences.difference import (
    AT_MOST,
    Difference,
    Pair,
    Unreadable,
)
from targets.release.differences.formatting import counted, short
from targets.release.differences.kinds import is_known

CompareFolders = Callable[[Path, Path, int], tuple[Difference, ...]]
"""Finds what differs between two folders, at most so many for each file."""

_CHUNK = 1 << 20
_DAMAGE = (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError)
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
    must be room for them, and ``compare`` finds what differs there. Headers, order and padding are
    not explained.
    """
    if raw_bytes.same_bytes(released, rebuilt):
        return ()
    pair = Pair(name or released.name, released, rebuilt)
    try:
        differences = tuple(_differences(pair, compare, at_most))
    except Unreadable as error:
        message = f"{error}; {raw_bytes.in_words(released, rebuilt)}"
        return (Difference(file=pair.name, what=message),)
    if not name:
        return differences
    return tuple(
        one if one.file == name else one.model_copy(update={"file": f"{name}/{one.file}"})
        for one in differences
    )


def _differences(pair: Pair, compare: CompareFolders, at_most: int) -> Iterator[Difference]:
    with _opened(pair.released, "released") as old, _opened(pair.rebuilt, "rebuilt") as new:
        contents = _contents(old, new, compare, at_most)
    yield from contents
    if not contents:
        message = (
            "its members hold the same bytes, what is written about them does not: "
            f"{raw_bytes.in_words(pair.released, pair.rebuilt)}"
        )
        yield Difference(file=pair.name, where="bytes", what=message)


@contextmanager
def _opened(path: Path, side: str) -> Iterator[_Archive]:
    """Open an archive. What turns out damaged, also later on, is raised as ``Unreadable``."""
    try:
        with tarfile.open(path) as tar:
            yield _Archive(tar, {info.name: info for info in tar.getmembers()})
    except _DAMAGE as error:
        raise Unreadable(side, f"as tar archive: {error}") from None


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
    other = tuple(
        Difference(file=name, what=f"{kinds[0]} released, {kinds[1]} rebuilt")
        for name in old.members
        if name in new.members
        and (kinds := [_kind(one.members[name]) for one in (old, new)])[0] != kinds[1]
    )
    same = {name for name in files[0] & files[1] if _same(old, new, name)}
    unequal = (files[0] & files[1]) - same
    if not unequal:
        return first + missing + other
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
        return first + missing + other + compare(*folders, at_most)


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


def _described(info: tarfile.TarInfo) -> str:
    return counted(info.size, "byte") if info.isreg() else _type(info)


def _kind(info: tarfile.TarInfo) -> str:
    """Return what a member is; a link also with where it leads."""
    return f"{_type(info)} to {short(info.linkname)}" if info.linkname else _type(info)


def _type(info: tarfile.TarInfo) -> str:
    return f"a {_TYPES.get(info.type, 'member of type ' + repr(info.type))}"
