"""Fetches the bytes of an output: hashed while they arrive, and continued after a break."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from pipeline.contract.file_digest import FileDigest
from targets.atomic import remove_tree
from targets.remote.background import in_background
from targets.remote.record import blob_path
from targets.remote.store import PART, Store

_SIDE_BY_SIDE = 4
_TRIES = 2


class BlobLost(Exception):
    """The bytes of a file are not in the shared cache as they should be."""

    def __init__(self, file: FileDigest, why: str) -> None:
        super().__init__(f"{file.path} ({file.sha256[:12]}) {why}")
        self.sha256 = file.sha256


class _Damaged(Exception):
    """Bytes arrived that have another digest."""


class _Ended(Exception):
    """Nobody waits for these bytes any more."""


class Arrival:
    """The folder in which the files of one output arrive; whole ones stay until all are there."""

    def __init__(self, store: Store, folder: Path, say: Callable[[str], None]) -> None:
        self._store = store
        self._folder = folder
        self._say = say
        self._ended = False

    def left(self, files: Iterable[FileDigest]) -> int:
        """Return the bytes that have not arrived."""
        return sum(file.bytes for file in files if not (self._folder / file.sha256).exists())

    def fetch(self, files: Iterable[FileDigest]) -> None:
        """Fetch the bytes of ``files``. Raises ``BlobLost``, or ``OSError`` of the disk here."""
        self._folder.mkdir(parents=True, exist_ok=True)
        distinct = {file.sha256: file for file in files}
        try:
            in_background(self._fetch, distinct.values(), _SIDE_BY_SIDE)
        finally:
            self._ended = True  # after an error, what still arrives stops at its next part

    def arrange(self, files: Iterable[FileDigest], output: Path) -> None:
        """Put what was fetched where ``files`` have it below ``output``."""
        remove_tree(output)
        output.mkdir(parents=True)
        placed: dict[str, Path] = {}
        for file in files:
            place = output / file.path
            place.parent.mkdir(parents=True, exist_ok=True)
            if file.sha256 in placed:
                shutil.copyfile(placed[file.sha256], place)
            else:
                (self._folder / file.sha256).rename(place)
                placed[file.sha256] = place

    def forget(self) -> None:
        """Remove what has arrived."""
        remove_tree(self._folder)

    def _fetch(self, file: FileDigest) -> None:
        whole = self._folder / file.sha256
        partial = whole.with_suffix(".partial")
        if whole.exists():
            return
        for left in reversed(range(_TRIES)):
            try:
                self._stream(file, partial)
            except _Damaged:
                partial.unlink(missing_ok=True)
                if left:
                    self._say(f"{file.path} ({file.sha256[:12]}) came damaged: fetched again")
            else:
                partial.rename(whole)
                return
        raise BlobLost(file, "is damaged in the shared cache")

    def _stream(self, file: FileDigest, partial: Path) -> None:
        """Append to ``partial`` what it lacks; raise if the whole is not what it should be."""
        path = blob_path(file.sha256)
        stored = self._store.look(path)
        if stored is None:
            raise BlobLost(file, "is not in the shared cache any more")
        if stored.size != file.bytes:
            raise BlobLost(file, "is truncated in the shared cache")
        digest = hashlib.sha256()
        with partial.open("ab+") as here:
            here.seek(0)
            while here.tell() <= file.bytes and (known := here.read(PART)):
                digest.update(known)
            if here.tell() < file.bytes:
                for piece in self._store.rest(path, here.tell()):
                    if self._ended:
                        raise _Ended
                    digest.update(piece)
                    here.write(piece)
                    if here.tell() > file.bytes:
                        break
            if here.tell() != file.bytes or digest.hexdigest() != file.sha256:
                raise _Damaged
