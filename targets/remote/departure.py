"""Brings a finished step to a shared cache: first its bytes, last the record that names them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Set
from datetime import datetime, timedelta, timezone
from pathlib import Path

from pipeline.contract.result import FileDigest, StepResult
from targets.remote.record import blob_path
from targets.remote.store import PART, RemoteFailed, Store

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
            self._send(file, output / file.path)
            self._moved()

    def _send(self, file: FileDigest, source: Path) -> None:
        path = blob_path(file.sha256)
        stored = self._store.look(path)
        if stored is not None and stored.size == file.bytes and file.sha256 not in self._damaged:
            age = datetime.now(timezone.utc) - stored.modified
            if age < LONGEST_BUILD / 2:  # an older one might be cleaned away at this moment
                return
        digest = hashlib.sha256()
        gone: list[OSError] = []
        try:
            self._store.write(
                path, self._parts(source, file.bytes, digest.update, gone), file.bytes
            )
        except RemoteFailed:
            if gone:
                raise Changed(file.path) from None
            raise
        if digest.hexdigest() != file.sha256:
            self._store.remove(path)
            raise Changed(file.path)

    def _parts(
        self,
        source: Path,
        size: int,
        update: Callable[[bytes], None],
        gone: list[OSError],
    ) -> Iterator[bytes]:
        """Yield the bytes of a file, no more than ``size`` and one. An error of this disk, which
        the store's library would take for its own, is added to ``gone``."""
        try:
            with source.open("rb") as stream:
                while size >= 0 and (part := stream.read(min(PART, size + 1))):
                    size -= len(part)
                    update(part)
                    self._moved()
                    yield part
        except OSError as error:
            gone.append(error)
            raise
