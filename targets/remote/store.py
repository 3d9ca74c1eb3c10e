"""The object store of a shared cache: few operations, each bounded in time, whose errors say what
to do and contain no credential."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from targets.remote.address import open_store
from targets.remote.failure import RemoteFailed, explain, has_no_bucket, scheme_of

if TYPE_CHECKING:
    from obstore.store import ObjectStore

PART = 5 << 20
"""Bytes of one request: the fewest that S3 allows."""
_PIECE = 1 << 20
"""Bytes that are passed on at once while they arrive."""
_AT_ONCE = 2
"""Parts of a file that go at once. With more, each would take too long on a slow line."""
_MOST_PARTS = 9_000
"""S3 takes 10,000 of a file."""
READ_SECONDS = 30
"""How long a server may say nothing."""
WRITE_SECONDS = 120
"""How long a part may take to get there: 90 kB/s are enough."""
_CLOCK = "clock"
"""An object that says nothing: what counts is when it was stored."""


@dataclass(frozen=True)
class Stored:
    """An object: its path, size, time, and what tells its versions apart."""

    path: str
    size: int
    modified: datetime
    e_tag: str | None
    version: str | None = None


class Store:
    """The objects below the address of a shared cache."""

    def __init__(
        self, address: str, opened: Callable[[str, float], ObjectStore] = open_store
    ) -> None:
        """``opened`` returns the store at an address that says nothing for so many seconds at
        most."""
        self.address = address
        self._opened = opened

    @cached_property
    def _store(self) -> ObjectStore:
        return self._opened(self.address, READ_SECONDS)

    @cached_property
    def _slow(self) -> ObjectStore:
        """Return the store for what is large: a part must have gone before the server answers."""
        return self._opened(self.address, WRITE_SECONDS)

    def now(self) -> datetime:
        """Return the time by the clock of the store, which is that of its objects: the clock of
        this machine may be wrong. The first call stores an object for that."""
        stored, noted = self._clock
        return stored + timedelta(seconds=time.monotonic() - noted)

    @cached_property
    def _clock(self) -> tuple[datetime, float]:
        self.write(_CLOCK, iter([b""]), 0)
        noted = time.monotonic()
        stored = self.look(_CLOCK)
        if stored is None:
            raise RemoteFailed(
                f"{self.address} lost what was just stored",
                "look at what else removes things there",
            )
        return stored.modified, noted

    def look(self, path: str) -> Stored | None:
        """Return what is stored as ``path``; ``None`` if nothing is."""
        import obstore

        with self._translated(), _absent():
            return _stored(obstore.head(self._store, path))
        return None

    def read(self, path: str, largest: int) -> tuple[bytes, Stored] | None:
        """Return an object as a whole; ``None`` if there is none, or it is larger."""
        import obstore

        with self._translated(), _absent():
            got = obstore.get(self._store, path)
            stored = _stored(got.meta)
            return (bytes(got.bytes()), stored) if stored.size <= largest else None
        return None

    def part(self, path: str, start: int, length: int) -> bytes | None:
        """Return a part of an object, shorter if it ends before; ``None`` if it is not there."""
        import obstore

        with self._translated(), _absent():
            return bytes(obstore.get_range(self._store, path, start=start, length=length))
        return None

    def rest(self, path: str, start: int) -> Iterator[bytes]:
        """Yield what an object has from byte ``start`` on, with one request; nothing if it is not
        there, or ends before."""
        import obstore

        with self._translated(), _absent():
            got = obstore.get(self._store, path, options={"range": {"offset": start}})
            yield from map(bytes, got.stream(min_chunk_size=_PIECE))

    def write(self, path: str, parts: Iterator[bytes], size: int) -> None:
        """Store an object of ``size`` bytes, which nobody sees before it is whole."""
        import obstore

        with self._translated():
            if size <= PART:
                obstore.put(self._slow, path, b"".join(parts), use_multipart=False)
                return
            part = max(PART, size // _MOST_PARTS + 1)
            obstore.put(self._slow, path, parts, chunk_size=part, max_concurrency=_AT_ONCE)

    def create(self, path: str, content: bytes, instead_of: Stored | None = None) -> bool:
        """Store an object unless there is one; return whether that was so.

        ``instead_of`` is one that it may replace, as long as that has not changed.
        """
        import obstore

        with self._translated():
            try:
                if instead_of is None:
                    obstore.put(self._store, path, content, mode="create")
                    return True
                if scheme_of(self.address) == "file":  # has no such condition
                    obstore.put(self._store, path, content)
                    return True
                versions = {"e_tag": instead_of.e_tag, "version": instead_of.version}
                seen = {name: version for name, version in versions.items() if version is not None}
                with _absent():  # it was removed meanwhile
                    obstore.put(self._store, path, content, mode=seen)  # type: ignore[arg-type]
                    return True
            except (obstore.exceptions.AlreadyExistsError, obstore.exceptions.PreconditionError):
                pass
            return False

    def remove(self, path: str) -> None:
        """Remove an object, if it is there."""
        import obstore

        with self._translated(), _absent():
            obstore.delete(self._store, path)

    def list(self, prefix: str) -> Iterator[Stored]:
        """Yield the objects below ``prefix``."""
        import obstore

        with self._translated():
            for chunk in obstore.list(self._store, prefix):
                yield from map(_stored, chunk)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        from obstore import exceptions

        try:
            yield
        except (exceptions.BaseError, OSError, ValueError) as error:
            raise explain(self.address, error) from None


@contextmanager
def _absent() -> Iterator[None]:
    """Go on where an object is missing; not where its bucket is."""
    from obstore import exceptions

    try:
        yield
    except (exceptions.NotFoundError, FileNotFoundError) as error:
        if has_no_bucket(error):
            raise


def _stored(meta: object) -> Stored:
    assert isinstance(meta, dict)  # noqa: S101 - what the library returns
    size, modified = meta["size"], meta["last_modified"]
    return Stored(meta["path"], size, modified, meta.get("e_tag"), meta.get("version"))
