"""SHA-256 of files and folders, stored so that unchanged files are not read again."""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from pipeline.contract.sha256 import dir_hash, sha256_of_file
from targets.atomic import remove_tree
from targets.disk import may_write
from targets.errors import EnvironmentUnable
from targets.machine import usable_cores

_SETTLED_NS = 50_000_000
_COMPILED = "__pycache__"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS digest (
    device INTEGER, inode INTEGER, size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER,
    sha256 TEXT NOT NULL,
    PRIMARY KEY (device, inode)
)
"""


class Digests:
    """File digests, kept in a database and looked up by device, inode, size and both times.

    The change time is part of the look-up because no program can set it, unlike the modification
    time: an edit that restores the modification time is still noticed.
    """

    def __init__(self, database: Path) -> None:
        self._database = database

    def file(self, path: Path) -> str:
        """Return the SHA-256 of a file's bytes."""
        return self.files([path])[0]

    def files(self, paths: Iterable[Path]) -> list[str]:
        """Return the SHA-256 of each file's bytes."""
        with_stat = [(path, path.stat()) for path in paths]
        with self._open() as database:
            known = {
                path: sha256 for path, stat in with_stat if (sha256 := self._known(database, stat))
            }
            read = _read([path for path, _ in with_stat if path not in known])
            for path, stat in with_stat:
                if path in read:
                    self._note(database, stat, read[path])
        return [known.get(path) or read[path] for path, _ in with_stat]

    def remember(self, path: Path, sha256: str) -> None:
        """Store the digest of a file whose content the caller knows, e.g. after linking it."""
        with self._open() as database:
            self._store(database, path.stat(), sha256)

    def tree(self, path: Path) -> str:
        """Return the SHA-256 of a file, or the ``dirHash`` of a folder: of all its files.

        Python's bytecode files are left out. Raises ``FileNotFoundError``.
        """
        if not path.exists():
            raise FileNotFoundError(errno.ENOENT, "there is no such file or folder", str(path))
        if path.is_file():
            return self.file(path)
        files = [file for file in path.rglob("*") if file.is_file() and _COMPILED not in file.parts]
        names = (file.relative_to(path).as_posix() for file in files)
        return dir_hash(zip(names, self.files(files), strict=True))

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(self._connect()) as database, database:
                yield database
        except sqlite3.Error as error:
            if _is_damage(error):
                remove_tree(self._database)
                message = f"{self._database} was damaged, and is removed: {error}"
                raise EnvironmentUnable(message, "run again") from error
            raise EnvironmentUnable(
                f"cannot use {self._database}: {error}",
                "choose a folder you may write, with space left, with --cache",
            ) from error

    def _connect(self) -> sqlite3.Connection:
        """Return the database; where it cannot be written, a copy that is then forgotten."""
        if not may_write(self._database.parent):
            return self._copy()
        self._database.parent.mkdir(parents=True, exist_ok=True)
        try:
            return _ready(self._database)
        except sqlite3.DatabaseError as error:
            if not (_is_damage(error) or self._database.is_dir()):
                raise
            # Everything in it can be computed again.
            remove_tree(self._database)
            return _ready(self._database)

    def _copy(self) -> sqlite3.Connection:
        copy = _ready(":memory:")
        address = f"{self._database.absolute().as_uri()}?mode=ro&immutable=1"
        with (
            suppress(sqlite3.Error),
            closing(sqlite3.connect(address, uri=True)) as database,
        ):
            database.backup(copy)
        return copy

    @staticmethod
    def _known(database: sqlite3.Connection, stat: os.stat_result) -> str | None:
        row = database.execute(
            "SELECT sha256 FROM digest WHERE device=? AND inode=? AND size=? AND mtime_ns=?"
            " AND ctime_ns=?",
            identity_of(stat),
        ).fetchone()
        return str(row[0]) if row else None

    def _note(self, database: sqlite3.Connection, stat: os.stat_result, sha256: str) -> None:
        """Store the digest of a file that was read after ``stat``.

        A file that was just written is not stored.
        """
        if is_settled(stat):
            self._store(database, stat, sha256)

    @staticmethod
    def _store(database: sqlite3.Connection, stat: os.stat_result, sha256: str) -> None:
        row = (*identity_of(stat), sha256)
        database.execute("INSERT OR REPLACE INTO digest VALUES (?,?,?,?,?,?)", row)


def _is_damage(error: sqlite3.Error) -> bool:
    """Return whether the file is no database; where it is locked, for example, or the disk is full,
    the error is of a class derived from this one."""
    return type(error) is sqlite3.DatabaseError


def _ready(database: Path | str) -> sqlite3.Connection:
    connection = sqlite3.connect(database, timeout=60)
    try:
        connection.execute(_SCHEMA)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def is_settled(stat: os.stat_result) -> bool:
    """Return whether a file was not just written: it could change again with the same times."""
    return time.time_ns() - stat.st_mtime_ns > _SETTLED_NS


def identity_of(stat: os.stat_result) -> tuple[int, ...]:
    """Return the numbers that change with a file's content."""
    return (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


def _read(paths: Sequence[Path]) -> dict[Path, str]:
    """Return the SHA-256 of each file, read now, in parallel threads."""
    if not paths:
        return {}
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(usable_cores()) as pool:
        return dict(zip(paths, pool.map(sha256_of_file, paths), strict=True))
