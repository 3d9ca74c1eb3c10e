"""Compares two folders, or two files, each by its kind."""

from __future__ import annotations

import os
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path, PurePosixPath

from targets.release.differences import raw_bytes
from targets.release.differences.archives import compare_archives
from targets.release.differences.difference import (
    AT_MOST,
    Difference,
    Pair,
    Unreadable,
    bounded,
)
from targets.release.differences.formatting import counted, short
from targets.release.differences.kinds import is_archive, is_known, kind_of


def compare_folders(
    released: Path, rebuilt: Path, at_most: int = AT_MOST
) -> tuple[Difference, ...]:
    """Return what differs, file by file; at most ``at_most`` for each, then how many more.

    Modes and times are not compared: in a folder they depend on who unpacked it. Raises ``OSError``
    where a file cannot be opened.
    """
    files = _files(released), _files(rebuilt)
    by_file: dict[str, Iterable[Difference]] = {}
    for name in files[0] ^ files[1]:
        by_file[name] = _only(name, released / name, rebuilt / name)
    unequal = set()
    for name in files[0] & files[1]:
        pair = Pair(name, released / name, rebuilt / name)
        if pair.released.is_symlink() or pair.rebuilt.is_symlink():
            by_file[name] = _links(pair)
        elif not raw_bytes.same_bytes(pair.released, pair.rebuilt):
            unequal.add(name)
    for model, data in _models(files[0] & files[1], unequal, released, rebuilt).items():
        unequal -= {model, *data}
        for name, differences in _model(model, data, released, rebuilt, at_most).items():
            by_file[name] = chain(by_file.get(name, ()), differences)
    for name in unequal:
        by_file[name] = compare_files(name, released / name, rebuilt / name, at_most)
    return tuple(one for name in sorted(by_file) for one in by_file[name])


def compare_files(
    name: str, released: Path, rebuilt: Path, at_most: int = AT_MOST
) -> tuple[Difference, ...]:
    """Return what differs between two files that are of the kind that ``name`` says.

    The members of an archive stand below its name: ``a.tar/README.md``. Data files of a model are
    read from beside it.
    """
    if not (released.exists() and rebuilt.exists()):
        return _only(name, released, rebuilt)
    if raw_bytes.same_bytes(released, rebuilt):
        return ()
    if is_archive(name):
        return compare_archives(released, rebuilt, compare_folders, at_most, name)
    pair = Pair(name, released, rebuilt)
    return tuple(bounded(name, _explained(pair), at_most))


def compare_bytes(
    name: str, released: bytes, rebuilt: bytes, at_most: int = AT_MOST
) -> tuple[Difference, ...]:
    """Return the same for two files that are not on disk."""
    with tempfile.TemporaryDirectory(prefix="quern-differences-") as folder:
        paths = Path(folder, "released"), Path(folder, "rebuilt")
        for path, content in zip(paths, (released, rebuilt), strict=True):
            path.write_bytes(content)
        return compare_files(name, *paths, at_most)


def _explained(pair: Pair) -> Iterator[Difference]:
    """Yield what the file's kind finds; where it finds nothing or cannot read it, how its bytes
    differ."""
    explained = False
    try:
        for one in kind_of(pair.name)(pair):
            explained = True
            yield one
    except Unreadable as error:
        yield Difference(file=pair.name, what=f"{error}; {_bytes(pair)}")
        return
    if not explained:
        yield _unexplained(pair)


def _unexplained(pair: Pair) -> Difference:
    message = f"what is compared in it is the same, the bytes are not: {_bytes(pair)}"
    return Difference(file=pair.name, where="bytes", what=message)


def _bytes(pair: Pair) -> str:
    return raw_bytes.in_words(pair.released, pair.rebuilt)


def _models(
    names: set[str], unequal: set[str], released: Path, rebuilt: Path
) -> dict[str, set[str]]:
    """Return the ONNX models that may differ, each with its data files that do."""
    models: dict[str, set[str]] = {}
    for name in sorted(names):
        if not name.endswith(".onnx"):
            continue
        folder = PurePosixPath(name).parent
        candidates = {
            one
            for one in unequal
            if not is_known(one) and PurePosixPath(one).is_relative_to(folder)
        }
        if not candidates:
            if name in unequal:
                models[name] = set()
            continue
        from targets.release.differences.onnx_model import data_files

        stored = {
            str(folder / location)
            for side in (released, rebuilt)
            for location in data_files(side / name)
        }
        if name in unequal or stored & candidates:
            models[name] = stored & candidates
    return models


def _model(
    model: str, data: set[str], released: Path, rebuilt: Path, at_most: int
) -> dict[str, Iterator[Difference]]:
    """Return what differs in a model and in its data files, by file."""
    by_file: dict[str, list[Difference]] = defaultdict(list)
    pair = Pair(model, released / model, rebuilt / model)
    try:
        for one in kind_of(model)(pair):
            by_file[one.file].append(one)
    except Unreadable as error:
        by_file[model].append(Difference(file=model, what=f"{error}; {_bytes(pair)}"))
    for name in sorted({model, *data}):
        pair = Pair(name, released / name, rebuilt / name)
        if not by_file[name] and not raw_bytes.same_bytes(pair.released, pair.rebuilt):
            by_file[name] = [_unexplained(pair)] if name == model else list(_no_tensor(pair))
    return {name: bounded(name, some, at_most) for name, some in by_file.items() if some}


def _no_tensor(pair: Pair) -> Iterator[Difference]:
    for one in raw_bytes.differences(pair):
        yield one.model_copy(update={"what": f"no tensor that can be read differs; {one.what}"})


def _files(folder: Path) -> set[str]:
    """Return every file and link below a folder, and every empty folder."""
    paths = set()
    for parent, folders, files in os.walk(folder):
        links = [name for name in folders if Path(parent, name).is_symlink()]
        names = [*files, *links]
        if not names and not folders and Path(parent) != folder:
            names = ["."]
        paths |= {Path(parent, name).relative_to(folder).as_posix() for name in names}
    return paths


def _only(name: str, released: Path, rebuilt: Path) -> tuple[Difference, ...]:
    """Return what to say of a file that at most one side has."""
    for path, side in ((released, "released"), (rebuilt, "rebuilt")):
        if os.path.lexists(path):
            size = "a folder" if path.is_dir() else counted(path.lstat().st_size, "byte")
            return (Difference(file=name, what=f"only {side}: {size}"),)
    return ()


def _links(pair: Pair) -> tuple[Difference, ...]:
    targets = [
        f"a link to {short(str(path.readlink()))}" if path.is_symlink() else "no link"
        for path in (pair.released, pair.rebuilt)
    ]
    if targets[0] == targets[1]:
        return ()
    return (Difference(file=pair.name, what=f"{targets[0]} released, {targets[1]} rebuilt"),)
