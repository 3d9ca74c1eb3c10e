"""Notices an engine that does not answer any more: frozen, or of a machine that hangs.

Nothing else would tell. A connection to it stays open, and a driver that reads from it waits as
long as the engine does nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType

from docker import DockerClient
from typing_extensions import Self

from targets.toolchain.engine import answers

PATIENCE = 60.0
"""Seconds without an answer after which an engine is given up; one that is busy may take long."""
_BEATS = 4
"""How often it is asked in that time."""


class Heartbeat:
    """Asks an engine again and again, in a thread of its own, while the block runs."""

    def __init__(self, client: DockerClient, give_up: Callable[[], None], patience: float) -> None:
        """``give_up`` is called once the engine has not answered for ``patience`` seconds."""
        self._client = client
        self._give_up = give_up
        self._beat = patience / _BEATS
        self._over = threading.Event()
        self.silent = False
        """Whether that was so."""

    def __enter__(self) -> Self:
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()

    def _listen(self) -> None:
        missed = 0
        while missed < _BEATS:
            began = time.monotonic()
            missed = 0 if answers(self._client, self._beat) else missed + 1
            if self._over.wait(max(0.0, began + self._beat - time.monotonic())):
                return
        self.silent = True
        self._give_up()
