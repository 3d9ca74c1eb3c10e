"""Notices an engine that does not answer any more: frozen, or of a machine that hangs.

Nothing else would tell. A connection to it stays open, and a driver that reads from it waits as
long as the engine does nothing.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType, TracebackType
from typing import NoReturn

from docker import DockerClient
from typing_extensions import Self

from targets.errors import EnvironmentUnable, Interrupted
from targets.runtimes.wakeup import signals_end_calls
from targets.toolchain.engine import answers

SILENT = "the Docker Engine does not answer"
RESTART = "restart it and run again: it goes on from the last finished step"

PATIENCE = 60.0
"""Seconds without an answer after which an engine is given up; one that is busy may take long."""
_BEATS = 4
"""How often it is asked in that time."""
_ASKED_AT_LENGTH = 2
"""How many questions, one after another, that time has room for: behind a slow line that is busy
with what is sent, an answer takes long too."""


class Heartbeat:
    """Asks an engine again and again, in a thread of its own, while the block runs."""

    def __init__(self, client: DockerClient, give_up: Callable[[], None], patience: float) -> None:
        """``give_up`` is called once the engine has not answered for ``patience`` seconds."""
        self._client = client
        self._give_up = give_up
        self._patience = patience
        self._over = threading.Event()
        self._deciding = threading.Lock()
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
        with self._deciding:
            self._over.set()

    def _listen(self) -> None:
        beat, longest = self._patience / _BEATS, self._patience / _ASKED_AT_LENGTH
        asked = answered = time.monotonic()
        while not self._over.wait(max(0.0, asked + beat - time.monotonic())):
            asked = time.monotonic()
            left = max(
                beat, answered + self._patience - asked
            )  # this process may have been stopped
            if answers(self._client, min(longest, left)):
                answered = time.monotonic()
            elif time.monotonic() - answered >= self._patience:
                break
        with self._deciding:
            if not self._over.is_set():
                self.silent = True
                self._give_up()


class _GivenUp(KeyboardInterrupt):
    """Ends what waits for the engine in the way in which Ctrl-C does."""


@contextmanager
def while_answering(
    client: DockerClient | None, patience: float = PATIENCE, silent: str = SILENT
) -> Iterator[None]:
    """Raise ``EnvironmentUnable`` in the block once the engine has not answered for ``patience``
    seconds, whatever the block waits for. ``silent`` says in words that it does not.

    A signal gets the main thread out of a call that blocks; elsewhere, and without a client, the
    block just runs.
    """
    on_main = threading.current_thread() is threading.main_thread()
    if client is None or not on_main or sys.platform == "win32":
        yield
        return
    main_thread = threading.main_thread().ident or 0
    interrupt = partial(signal.pthread_kill, main_thread, signal.SIGUSR1)
    heartbeat = Heartbeat(client, interrupt, patience)
    before = signal.signal(signal.SIGUSR1, _give_up)
    try:
        with signals_end_calls(), heartbeat:
            yield
    except (KeyboardInterrupt, Interrupted) as ended:
        if not heartbeat.silent:
            raise
        if not isinstance(ended, Interrupted):
            raise EnvironmentUnable(silent, RESTART) from None
        raise EnvironmentUnable(f"{silent}: {ended}", f"{RESTART}\n{ended.hint}") from None
    finally:
        signal.signal(signal.SIGUSR1, before)


def _give_up(_number: int, _frame: FrameType | None) -> NoReturn:
    raise _GivenUp
