"""Folders that others wrote, open for reading: no link in them leads elsewhere."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from typing_extensions import Self

MOST_NAMES = 100_000
"""Most files in one folder."""

# Of a file that only its owner may write, the owner can write a copy: passes change copies.
_FILE, _FOLDER = 0o644, 0o755


class TooManyNamesError(Exception):
    """A folder has more files than are looked at."""


if sys.platform == "win32":

    class StrangeFolder:
        """An open folder. Windows opens no folders, so it is known by its path: whoever may write
        there can change it between two looks. Its steps have the caller's rights anyway."""

        def __init__(self, path: Path) -> None:
            self._path = path

        @classmethod
        @contextmanager
        def opened(cls, path: Path) -> Iterator[Self]:
            """Open ``path``; a link is an error."""
            _refuse_link(path)
            yield cls(path)

        @contextmanager
        def folder(self, name: str) -> Iterator[Self]:
            """Open a folder in it."""
            _refuse_link(self._path / name)
            yield type(self)(self._path / name)

        @contextmanager
        def file(self, name: str) -> Iterator[int]:
            """Yield a descriptor of a file in it."""
            _refuse_link(self._path / name)
            descriptor = os.open(self._path / name, os.O_RDONLY | os.O_BINARY)
            try:
                yield descriptor
            finally:
                os.close(descriptor)

        def names(self) -> list[str]:
            """Return the names in it, sorted. Raises :class:`TooManyNamesError`."""
            return _names(self._path)

        def mode(self, name: str) -> int:
            """Return kind and rights of what has ``name``, not of what a link leads to."""
            path = self._path / name
            return stat.S_IFLNK if _is_link(path) else os.lstat(path).st_mode

        def disk_bytes(self) -> int:
            """Return the size of its disk."""
            return shutil.disk_usage(self._path).total

        def settle(self) -> None:
            """Leave its rights as they are: it inherits them."""

    def settle(_file: int) -> None:
        """Leave the rights of an open file as they are: it inherits them."""

    def _refuse_link(path: Path) -> None:
        if _is_link(path):
            raise OSError(f"{path.name} is a link")

    def _is_link(path: Path) -> bool:
        """Return whether it is a link of any kind; a junction is one to a folder."""
        return bool(os.lstat(path).st_file_attributes & stat.FILE_ATTRIBUTE_REPARSE_POINT)

else:
    # O_NONBLOCK: a pipe with nobody at its other end would be waited for.
    _FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK

    class StrangeFolder:
        """An open folder. What is in it is reached through its descriptor, whatever happens to its
        name meanwhile."""

        def __init__(self, descriptor: int) -> None:
            self._descriptor = descriptor

        @classmethod
        @contextmanager
        def opened(cls, path: Path) -> Iterator[Self]:
            """Open ``path``; a link is an error."""
            with _opened(str(path), None, os.O_DIRECTORY) as descriptor:
                yield cls(descriptor)

        @contextmanager
        def folder(self, name: str) -> Iterator[Self]:
            """Open a folder in it."""
            with _opened(name, self._descriptor, os.O_DIRECTORY) as descriptor:
                yield type(self)(descriptor)

        @contextmanager
        def file(self, name: str) -> Iterator[int]:
            """Yield a descriptor of a file in it."""
            with _opened(name, self._descriptor) as descriptor:
                yield descriptor

        def names(self) -> list[str]:
            """Return the names in it, sorted. Raises :class:`TooManyNamesError`."""
            return _names(self._descriptor)

        def mode(self, name: str) -> int:
            """Return kind and rights of what has ``name``, not of what a link leads to."""
            return os.stat(name, dir_fd=self._descriptor, follow_symlinks=False).st_mode

        def disk_bytes(self) -> int:
            """Return the size of its disk."""
            disk = os.fstatvfs(self._descriptor)
            return disk.f_blocks * disk.f_frsize

        def settle(self) -> None:
            """Let all read it, and its owner write to it."""
            os.fchmod(self._descriptor, _FOLDER)

    def settle(file: int) -> None:
        """Let all read an open file, and its owner write to it."""
        os.fchmod(file, _FILE)

    @contextmanager
    def _opened(name: str, folder: int | None, more: int = 0) -> Iterator[int]:
        descriptor = os.open(name, _FLAGS | more, dir_fd=folder)
        try:
            yield descriptor
        finally:
            os.close(descriptor)


def _names(folder: Path | int) -> list[str]:
    with os.scandir(folder) as entries:
        names = [entry.name for entry in islice(entries, MOST_NAMES + 1)]
    if len(names) > MOST_NAMES:
        raise TooManyNamesError
    return sorted(names)
