"""Brings a finished step to a shared cache: first its bytes, last the record that names them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Set
from datetime import timedelta
from pathlib import Path

from pipeline.contract.file_digest import FileDigest
from pipeline.contract.result import StepResult
from targets.remote.record import blob_path
from targets.remote.store import PART, Store, Stored

LONGEST_BUILD = timedelta(days=7)
"""How long bytes stay that no record names yet: a build may still be on its way to it."""


class Changed(Exception):
    """A file was not what its result lists when it was read."""


class Departure:
    """Stores the files of outputs under their digests."""

    def __init__(self, store: Store, damaged: Set[str], moved: Callable[[], None]) -> None:
        """``damaged`` are digests whose bytes in the store are wrong; ``moved`` is called when some
        bytes have left."""
        self._store = store
        self._damaged = damaged
        self._moved = moved

    def send(self, result: StepResult, output: Path) -> None:
        """Store every file of ``result``, below ``output``, that is not stored yet.

        Raises ``Changed``, or ``OSError`` where a file is gone.
        """
        for file in result.files:
            self.send_file(file, output / file.path)
            self._moved()

    def send_file(self, file: FileDigest, source: Path) -> None:
        """Store the bytes of ``source``, which are those of ``file``, unless they are stored."""
        path = blob_path(file.sha256)
        stored = self._store.look(path)
        if stored is not None and self._stays(stored, file):
            return
        broken: list[Exception] = []
        try:
            self._store.write(path, self._parts(file, source, broken), file.bytes)
        except Exception:
            if broken:
                raise Changed(file.path) from None
            raise

    def _stays(self, stored: Stored, file: FileDigest) -> bool:
        """Return whether what is stored needs no other: an old one might be cleaned away just
        now."""
        right = stored.size == file.bytes and file.sha256 not in self._damaged
        return right and self._store.now() - stored.modified < LONGEST_BUILD / 2

    def _parts(self, file: FileDigest, source: Path, broken: list[Exception]) -> Iterator[bytes]:
        """Yield the bytes of ``file``, the last of them only when all have its digest: nobody sees
        an object before it is whole.

        The store's library would take an error for its own, so it is added to ``broken``.
        """
        digest, held, left = hashlib.sha256(), b"", file.bytes
        try:
            with source.open("rb") as stream:
                while left >= 0 and (part := stream.read(min(PART, left + 1))):
                    if held:
                        yield held
                    left -= len(part)
                    digest.update(part)
                    held = part
                    self._moved()
            if digest.hexdigest() != file.sha256:
                raise Changed(file.path)
        except (OSError, Changed) as error:
            broken.append(error)
            raise
        yield held
