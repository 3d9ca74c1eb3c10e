"""Parses the standard output of a step's process into events."""

from __future__ import annotations

from typing import IO

from pydantic import ValidationError

from pipeline.contract.events import EVENT, Event, StepFailed, StepProgress, StepStarted, Text
from targets.foreign_text import Streamed, one_line
from targets.runtimes.runtime import OnEvent
from targets.runtimes.step_timer import StepTimer

_LONGEST = 2**22
"""Most bytes of a line that are kept until its end: no event is that long."""


class EventReader:
    """Reads one JSON object per line; any other line goes to ``log``.

    Remembers the running step and the reported failure, which explain the end of the process.
    """

    def __init__(self, on_event: OnEvent, log: IO[bytes], timer: StepTimer | None = None) -> None:
        """``timer`` is started anew with each step."""
        self._on_event = on_event
        self._log = log
        self._timer = timer
        self._rest = b""
        self._streamed = Streamed()
        self.step: str | None = None
        self.failure: StepFailed | None = None

    def feed(self, data: bytes) -> None:
        """Process the next piece of standard output, which may end within a line."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(line)
        if len(self._rest) > _LONGEST:
            self._log.write(self._rest)
            self._rest = b""

    def close(self) -> None:
        """Process the rest after the last end of line, once the process has ended."""
        if self._rest:
            self._take(self._rest)
        self._rest = b""

    def _take(self, line: bytes) -> None:
        try:
            event = _shown(EVENT.validate_json(line), self._streamed)
        except ValidationError:
            self._log.write(line + b"\n")
            return
        if isinstance(event, StepStarted):
            self.step = event.step
            if self._timer is not None:
                self._timer.restart()
        elif isinstance(event, StepFailed):
            self.failure = event
        self._on_event(event)


def _shown(event: Event, streamed: Streamed) -> Event:
    """Return ``event`` with each text of the process as one line; what ``try`` streams has more."""
    if isinstance(event, Text):
        return event.model_copy(update={"text": streamed.piece(event.text)})
    texts = {name: one_line(value) for name, value in event if isinstance(value, str)}
    if isinstance(event, StepProgress):
        metrics = {one_line(name): value for name, value in event.metrics.items()}
        return event.model_copy(update={**texts, "metrics": metrics})
    return event.model_copy(update=texts)
