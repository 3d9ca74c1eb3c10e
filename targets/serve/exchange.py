"""Hands requests to the process that answers them, and its replies to those who wait for them."""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import IO

from pipeline.contract.events import Reply
from pipeline.data.question import Question, Request


class Busy(Exception):
    """As many wait already as may."""


class Gone(Exception):
    """The process that answers has ended."""


class Exchange:
    """The requests that are open. One loop has them all; replies may come from another thread."""

    def __init__(self, most: int) -> None:
        """``most`` requests may be open at a time."""
        reader, self._writer = os.pipe()
        self.stdin: IO[bytes] = os.fdopen(reader, "rb")
        """What the process reads."""
        self._most = most
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Queue[Reply | None]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._closed = False

    async def ask(
        self,
        question: Question,
        search: Mapping[str, bool | int | float],
        stop: tuple[str, ...],
    ) -> AsyncGenerator[Reply, None]:
        """Yield the replies to ``question``, of which the last has ended. Raises :class:`Busy` and
        :class:`Gone`."""
        if self._closed:
            raise Gone
        if len(self._waiting) >= self._most:
            raise Busy
        self._loop = asyncio.get_running_loop()
        number = next(self._numbers)
        queue = self._waiting[number] = asyncio.Queue()
        request = Request(number=number, question=question, search=dict(search), stop=stop)
        ended = False
        try:
            await asyncio.to_thread(self._write, request)
            while not ended:
                reply = await queue.get()
                if reply is None:
                    raise Gone
                ended = bool(reply.ended)
                yield reply
        finally:
            del self._waiting[number]
            if not ended:
                self._write(Request(number=number))

    def take(self, reply: Reply) -> None:
        """Give ``reply`` to whoever waits for it; from any thread."""
        self._in_loop(lambda: self._give(reply.number, reply))

    def close(self) -> None:
        """Tell all who wait, and who ask later, that there are no more replies; from any thread."""
        self._closed = True
        self._in_loop(self._give_up)

    def _give_up(self) -> None:
        for number in self._waiting:
            self._give(number, None)

    def _give(self, number: int, reply: Reply | None) -> None:
        if number in self._waiting:
            self._waiting[number].put_nowait(reply)

    def _in_loop(self, give: Callable[[], object]) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(give)

    def _write(self, request: Request) -> None:
        line = memoryview(request.model_dump_json().encode() + b"\n")
        with self._lock:
            while line:
                line = line[os.write(self._writer, line) :]
