"""Examines the shared cache of a config: reach, rights and speed."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from itertools import islice

from pipeline.contract.schema import SharedCacheTable
from targets.doctor.finding import Finding, Machine
from targets.remote.background import in_background
from targets.remote.failure import RemoteFailed, RemoteRefused
from targets.remote.record import BLOBS, LARGEST, result_path
from targets.remote.shared_cache import SIGN_KEY
from targets.remote.store import Store

_BYTES = 4 << 20
_TELLING = 1 << 18
"""Bytes of which one can tell how fast they come."""
_LOOKED_AT = 50
"""Files of which the largest is fetched, by who brings nothing."""


def shared_cache(machine: Machine) -> Iterator[Finding]:
    """Examine the shared cache: who brings results to it, with a file of random bytes, which is
    removed again; who only reads, with what is there."""
    table = machine.shared_cache
    if table is None:
        return
    store = Store(table.remote)
    reads = _only_reads(table)
    details: dict[str, object] = {"remote": table.remote, "push": table.push}
    try:
        started = time.monotonic()
        # Unlike a look, this says whether the bucket is missing.
        in_background(partial(store.read, largest=LARGEST), [result_path("0" * 64)], 1)
        answer = time.monotonic() - started
        details["answer_seconds"] = answer
        told = f"{table.remote} answers in {answer * 1000:.0f} ms"
        if reads:
            (down,) = in_background(_speed_down, [store], 1)
            if down is not None:
                details["down_bytes_per_second"] = down
                told += f", gives {down / 1e6:.0f} MB/s"
            told += f"; {reads}"
        else:
            ((up, down),) = in_background(_speeds, [store], 1)
            details |= {"up_bytes_per_second": up, "down_bytes_per_second": down}
            told += f", takes {up / 1e6:.0f} MB/s and gives {down / 1e6:.0f} MB/s"
    except RemoteFailed as failed:
        refused = isinstance(failed, RemoteRefused) and "answer_seconds" in details
        told = f"it may be read, and not be written: {failed}" if refused else str(failed)
        yield Finding("warning", "shared cache", told, failed.advice, details)
        return
    yield Finding("ok", "shared cache", told, details=details)


def _only_reads(table: SharedCacheTable) -> str:
    """Return why builds here bring nothing to it; empty if they do."""
    if not table.push:
        return "nothing is brought to it: the config has no `push = true`"
    if table.trust and not os.environ.get(SIGN_KEY):
        return f"nothing is brought to it from here: {SIGN_KEY} names no key to sign with"
    return ""


def _speed_down(store: Store) -> float | None:
    """Return the bytes per second with which a file of it comes; ``None`` if none is large enough
    to tell."""
    with suppress(RemoteRefused):  # who may read what a build names need not see what there is
        found = max(islice(store.list(BLOBS), _LOOKED_AT), key=lambda one: one.size, default=None)
        if found is not None and found.size >= _TELLING:
            begun = time.monotonic()
            part = store.part(found.path, 0, min(found.size, _BYTES))
            return len(part) / (time.monotonic() - begun) if part else None
    return None


def _speeds(store: Store) -> tuple[float, float]:
    """Return the bytes per second with which a file goes there, and comes back."""
    path, content = f"doctor/{uuid.uuid4().hex}", os.urandom(_BYTES)
    begun = time.monotonic()
    store.write(path, iter([content]), len(content))
    there = time.monotonic()
    try:
        store.part(path, 0, len(content))
        back = time.monotonic()
    finally:
        store.remove(path)
    return _BYTES / (there - begun), _BYTES / (back - there)
