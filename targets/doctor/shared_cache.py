"""Examines the shared cache of a config: reach, rights and speed."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from functools import partial

from targets.doctor.finding import Finding, Machine
from targets.remote.background import in_background
from targets.remote.failure import RemoteFailed, RemoteRefused
from targets.remote.record import LARGEST, result_path
from targets.remote.store import Store

_BYTES = 4 << 20


def shared_cache(machine: Machine) -> Iterator[Finding]:
    """Examine the shared cache with a file of random bytes, which is removed again."""
    table = machine.shared_cache
    if table is None:
        return
    store = Store(table.remote)
    details: dict[str, object] = {"remote": table.remote, "push": table.push}
    try:
        started = time.monotonic()
        # Unlike a look, this says whether the bucket is missing.
        in_background(partial(store.read, largest=LARGEST), [result_path("0" * 64)], 1)
        answer = time.monotonic() - started
        details["answer_seconds"] = answer
        told = f"{table.remote} answers in {answer * 1000:.0f} ms"
        if table.push:
            ((up, down),) = in_background(_speeds, [store], 1)
            details |= {"up_bytes_per_second": up, "down_bytes_per_second": down}
            told += f", takes {up / 1e6:.0f} MB/s and gives {down / 1e6:.0f} MB/s"
    except RemoteFailed as failed:
        refused = isinstance(failed, RemoteRefused) and "answer_seconds" in details
        told = f"it may be read, and not be written: {failed}" if refused else str(failed)
        yield Finding("warning", "shared cache", told, failed.advice, details)
        return
    yield Finding("ok", "shared cache", told, details=details)


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
