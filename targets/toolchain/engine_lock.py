"""Locks between all processes of this machine that use one engine, whatever their caches are."""

from __future__ import annotations

import errno
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from docker import DockerClient

_POLL_SECONDS = 0.2


@contextmanager
def engine_lock(client: DockerClient, name: str, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock ``name`` of the engine while the block runs; ``waiting`` is called once if
    another process holds it.

    It is an abstract socket address (``man 7 unix``): users have no folder in common, and the
    kernel gives it back if the process dies. Systems that have none, all but Linux, lock nothing.
    """
    if sys.platform != "linux":
        yield
        return
    address = f"\0quern-{client.info()['ID']}-{name}"
    with socket.socket(socket.AF_UNIX) as lock:
        said = False
        while not _taken(lock, address):
            if not said:
                waiting()
                said = True
            time.sleep(_POLL_SECONDS)
        yield


def _taken(lock: socket.socket, address: str) -> bool:
    try:
        lock.bind(address)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        return False
    return True
