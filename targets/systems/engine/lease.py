"""Asks after a container while somebody waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from docker import DockerClient
from docker.errors import APIError, NotFound

from targets.systems.engine.keeper import RENEW
from targets.systems.engine.link import DROPPED, Link, quick

_ASKED_A_LEASE = 5
"""How often a container is asked after within the time that one signal lends it."""
_LONGEST_PAUSE = 20.0


@contextmanager
def renewed(
    link: Link, container: str, lease_seconds: float, lost: Callable[[], None] | None = None
) -> Iterator[None]:
    """Ask after ``container`` while the block runs, from another thread.

    ``lost`` is called when the engine does not answer: who reads from a connection that is dead
    would not notice.
    """
    over = threading.Event()
    pause = min(lease_seconds / _ASKED_A_LEASE, _LONGEST_PAUSE)
    seconds = max(1, round(pause))

    def work() -> None:
        client: DockerClient | None = None
        ready = False
        while True:
            try:
                client = client or link.beside()
                ready = ready or quick(client, seconds, lambda c: has_begun(c, container))
                if ready:
                    quick(client, seconds, lambda c: c.api.kill(container, RENEW))
            except NotFound:
                pass
            except (APIError, *DROPPED, OSError):
                with suppress(Exception):
                    if client is not None:
                        client.close()
                client = None
                if lost is not None:
                    lost()
            if over.wait(pause):
                break
        if client is not None:
            client.close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()


def has_begun(client: DockerClient, container: str) -> bool:
    """Return whether what keeps ``container`` heeds signals: it has written its first line."""
    pieces = client.api.logs(container, stdout=True, stderr=False, stream=True, follow=False)
    try:
        return next(iter(pieces), None) is not None
    finally:
        with suppress(Exception):
            pieces.close()
