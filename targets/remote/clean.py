"""Makes room in a shared cache: first results go, then bytes that no result names."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import PurePosixPath

from targets.remote.background import in_background
from targets.remote.departure import LONGEST_BUILD
from targets.remote.record import BLOBS, LARGEST, RESULTS
from targets.remote.store import Store, Stored

_SIDE_BY_SIDE = 8


@dataclass(frozen=True)
class Room:
    """What goes: old results, the bytes that no other result names, and the size of all of it."""

    results: tuple[Stored, ...]
    blobs: tuple[Stored, ...]

    @property
    def freed(self) -> int:
        """Return the bytes that are freed."""
        return sum(stored.size for stored in (*self.results, *self.blobs))


def find_room(store: Store, unused: timedelta, now: datetime) -> Room:
    """Return the results that were brought ``unused`` or longer before ``now``, and the bytes that
    then no result names and that no build can be on its way to name."""
    results = list(store.list(RESULTS))
    old = tuple(stored for stored in results if stored.modified <= now - unused)
    kept = set(results) - set(old)
    named = set().union(*in_background(partial(_named, store), kept, _SIDE_BY_SIDE))
    unnamed = (
        stored
        for stored in store.list(BLOBS)
        if PurePosixPath(stored.path).name not in named and stored.modified < now - LONGEST_BUILD
    )
    return Room(old, tuple(unnamed))


def remove(store: Store, room: Room) -> None:
    """Remove what ``room`` lists: a result before the bytes that it names."""
    for stored in (*room.results, *room.blobs):
        store.remove(stored.path)


def _named(store: Store, stored: Stored) -> set[str]:
    """Return the digests that a record names, whoever signed it; none if it is damaged."""
    found = store.read(stored.path, LARGEST)
    if found is None:
        return set()
    try:
        record = json.loads(base64.b64decode(json.loads(found[0])["payload"]))
        return {str(file["sha256"]) for file in record["result"]["files"]}
    except (ValueError, KeyError, TypeError, RecursionError):
        return set()
