"""The object store of a shared cache: few operations, each bounded in time, whose errors say what
to do and contain no credential."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

from targets.foreign_text import one_line
from targets.remote.address import ADVICE, open_store, scheme_of

if TYPE_CHECKING:
    from obstore.store import ObjectStore

PART = 8 << 20
"""Bytes of one request."""
_LONGEST = 300
_QUERY = re.compile(r"\?[^\s\"')<>]*")
_SECRET = re.compile(r"((?:key|sig|signature|secret|token|password)\w*[=:]\s*)\S+", re.IGNORECASE)


class RemoteFailed(Exception):
    """The shared cache cannot be used; nothing else is asked of it in this command."""

    def __init__(self, message: str, advice: str) -> None:
        super().__init__(message)
        self.advice = advice


class RemoteRefused(RemoteFailed):
    """It does not let these credentials do that."""


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

    def __init__(self, address: str) -> None:
        self.address = address

    @cached_property
    def _store(self) -> ObjectStore:
        return open_store(self.address)

    def look(self, path: str) -> Stored | None:
        """Return what is stored as ``path``; ``None`` if nothing is."""
        import obstore

        with self._translated():
            try:
                meta = obstore.head(self._store, path)
            except (obstore.exceptions.NotFoundError, FileNotFoundError):
                return None
        return _stored(meta)

    def read(self, path: str, largest: int) -> tuple[bytes, Stored] | None:
        """Return an object as a whole; ``None`` if there is none, or it is larger."""
        import obstore

        with self._translated():
            try:
                got = obstore.get(self._store, path)
                stored = _stored(got.meta)
                return (bytes(got.bytes()), stored) if stored.size <= largest else None
            except (obstore.exceptions.NotFoundError, FileNotFoundError):
                return None

    def part(self, path: str, start: int, length: int) -> bytes | None:
        """Return a part of an object, shorter if it ends before; ``None`` if it is not there."""
        import obstore

        with self._translated():
            try:
                return bytes(obstore.get_range(self._store, path, start=start, length=length))
            except (obstore.exceptions.NotFoundError, FileNotFoundError):
                return None

    def write(self, path: str, parts: Iterator[bytes], size: int) -> None:
        """Store an object of ``size`` bytes, which nobody sees before it is whole."""
        import obstore

        with self._translated():
            if size <= PART:
                obstore.put(self._store, path, b"".join(parts), use_multipart=False)
            else:
                obstore.put(self._store, path, parts, chunk_size=PART, max_concurrency=4)

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
                seen = {"e_tag": instead_of.e_tag, "version": instead_of.version}
                obstore.put(self._store, path, content, mode=seen)  # type: ignore[arg-type]
            except (
                obstore.exceptions.AlreadyExistsError,
                obstore.exceptions.PreconditionError,
                obstore.exceptions.NotFoundError,
            ):
                return False
            return True

    def remove(self, path: str) -> None:
        """Remove an object, if it is there."""
        import obstore

        with self._translated(), suppress(obstore.exceptions.NotFoundError, FileNotFoundError):
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
        except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
            raise RemoteRefused(
                f"the shared cache {self.address} refuses these credentials: {_plain(error)}",
                ADVICE[scheme_of(self.address)],
            ) from None
        except (exceptions.BaseError, OSError, ValueError) as error:
            text = _plain(error)
            refused = re.search(r"\b40[13]\b|[Pp]ermission denied|os error 13\b", text)
            kind = RemoteRefused if refused else RemoteFailed
            did = "refuses these credentials" if refused else "cannot be used"
            raise kind(
                f"the shared cache {self.address} {did}: {text}", ADVICE[scheme_of(self.address)]
            ) from None


def _stored(meta: object) -> Stored:
    assert isinstance(meta, dict)  # noqa: S101 - what the library returns
    size, modified = meta["size"], meta["last_modified"]
    return Stored(meta["path"], size, modified, meta.get("e_tag"), meta.get("version"))


def _plain(error: BaseException) -> str:
    """Return the first sentence of an error, without anything that might be a credential."""
    text = one_line(str(error)).partition("Debug source")[0]
    text = _SECRET.sub(r"\1***", _QUERY.sub("?***", text)).strip()
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."
