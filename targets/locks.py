"""Locks between processes: files that are there only while somebody holds or wants them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class HeldElsewhere(Exception):
    """Another process holds the lock."""


@contextmanager
def locked(
    file: Path, waiting: Callable[[], None] | None = None, *, blocking: bool = True
) -> Iterator[None]:
    """Hold the lock ``file`` while the block runs; the kernel gives it back if the process dies.

    ``waiting`` is called once if another process holds it; without ``blocking``,
    :class:`HeldElsewhere` is raised then.
    """
    # A plan locks nothing, and need not wait for this library.
    from filelock import FileLock, Timeout

    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        if not blocking:
            raise HeldElsewhere(str(file)) from None
        if waiting is not None:
            waiting()
        lock.acquire()
    try:
        yield
    finally:
        # Removed while it is held: whoever waits for it sees that, and makes a new one.
        with suppress(OSError):
            file.unlink()
        lock.release()
