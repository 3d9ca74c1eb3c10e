"""Files and folders that get their name when they are whole, and until then lie beside it."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_MARK = 8
"""Number of random hexadecimal digits in the names of temporary folders."""
_OLD, _PARTIAL = ".old", ".partial"


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield the path to write to; when the block ends, that file takes the place of ``path``.

    If the block raises, ``path`` is as it was.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}{_PARTIAL}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def replace_file(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` as UTF-8; until it is whole, the file is as it was."""
    with atomic_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


@contextmanager
def sibling_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``folder``, on the same disk, to be renamed when it is whole.

    It is removed at the end of the block if it is still there.
    """
    fresh = _beside(folder)
    fresh.mkdir(parents=True)
    try:
        yield fresh
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def replace_folder(fresh: Path, folder: Path) -> None:
    """Put ``fresh``, which lies beside it, in place of ``folder``."""
    old = _beside(folder, _OLD)
    with suppress(FileNotFoundError):
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def link_or_copy(source: Path, destination: Path) -> None:
    """Make the file ``destination`` a hard link of ``source``; a copy on another file system."""
    try:
        os.link(source, destination)
    except OSError:
        shutil.copyfile(source, destination)


@contextmanager
def naming(written: Path) -> Iterator[None]:
    """Name the file ``written`` in an error of the block that would name none, or what was read."""
    try:
        yield
    except OSError as error:
        error.filename, error.filename2 = str(written), None
        raise


def remove_leftovers(folder: Path) -> None:
    """Remove what processes that were killed left in and beside ``folder``. One that was being
    replaced at that moment gets its name back.

    The caller holds a lock, so that none of it is still being written.
    """
    marked = f".{folder.name}.{'?' * _MARK}"
    for old in folder.parent.glob(marked + _OLD):
        if folder.exists():
            shutil.rmtree(old)
        else:
            old.rename(folder)
    for left in folder.parent.glob(marked):
        shutil.rmtree(left)
    remove_partial_files(folder)


def remove_partial_files(folder: Path) -> None:
    """Remove files in ``folder`` that processes wrote when they were killed.

    The caller holds a lock, so that none of it is still being written.
    """
    for left in folder.glob(f".*{_PARTIAL}"):
        left.unlink(missing_ok=True)


def remove_tree(folder: Path) -> None:
    """Remove ``folder`` with all that is in it, however deep, and whatever rights its owner took
    from himself; what cannot be removed stays. It may be a file as well."""
    if not folder.is_dir() or folder.is_symlink():
        with suppress(OSError):
            folder.unlink()
        return
    try:
        shutil.rmtree(folder, ignore_errors=True)
    except RecursionError:
        with suppress(OSError):
            _flatten(folder)
    if folder.exists():
        with suppress(OSError):
            _open_up(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _open_up(folder: Path) -> None:
    """Give the owner all rights to the folders of ``folder``."""
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        place.chmod(0o700)
        waiting += [path for path in place.iterdir() if not path.is_symlink() and path.is_dir()]


def _flatten(folder: Path) -> None:
    """Move everything below ``folder`` directly into it. No path gets longer than two names."""
    while inner := [path for path in folder.iterdir() if not path.is_symlink() and path.is_dir()]:
        for place in inner:
            place.chmod(0o700)
            for path in list(place.iterdir()):
                path.rename(folder / uuid.uuid4().hex)
            place.rmdir()


def _beside(folder: Path, kind: str = "") -> Path:
    return folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:_MARK]}{kind}")
