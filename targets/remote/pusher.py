"""Brings results to a shared cache while the build goes on."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

from targets.remote.store import WRITE_SECONDS

_PATIENCE_SECONDS = WRITE_SECONDS + 30.0
"""How long a finished build waits while nothing gets through: one part that is tried again."""
_SAY_AFTER_SECONDS = 2.0


class Pusher:
    """One thread that does jobs in turn, and never keeps a process from ending."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._jobs: queue.Queue[Callable[[], None]] = queue.Queue()
        self._thread: threading.Thread | None = None
        self._moved_at = time.monotonic()
        self._stopped = False

    def add(self, job: Callable[[], None]) -> None:
        """Do ``job`` when those before it are done. It raises nothing."""
        self._jobs.put(job)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, daemon=True)
            self._thread.start()

    def moved(self) -> None:
        """Note that something got through."""
        self._moved_at = time.monotonic()

    def finish(self) -> bool:
        """Wait for the jobs as long as they get on; return whether all are done."""
        begun, said = time.monotonic(), False
        self._moved_at = begun
        while self._jobs.unfinished_tasks:
            now = time.monotonic()
            if now - self._moved_at > _PATIENCE_SECONDS:
                self._stopped = True
                return False
            if not said and now - begun > _SAY_AFTER_SECONDS:
                said = True
                left = self._jobs.unfinished_tasks
                what = "one result" if left == 1 else f"{left} results"
                self._say(f"bringing {what} to the shared cache")
            time.sleep(0.05)
        return True

    def stop(self) -> None:
        """Begin no further job."""
        self._stopped = True

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            try:
                if not self._stopped:
                    job()
            finally:
                self.moved()
                self._jobs.task_done()
