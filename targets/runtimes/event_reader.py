"""Parses the standard output of a step's process into events. Nothing that it says is believed."""

from __future__ import annotations

import math
from collections.abc import Iterable

from pydantic import ValidationError

from pipeline.contract.events import (
    EVENT,
    Event,
    Noted,
    Reply,
    StepFailed,
    StepFinished,
    StepProgress,
    StepStarted,
    Text,
    Warned,
)
from targets.foreign_text import Streamed, one_line
from targets.runtimes.log import Log
from targets.runtimes.runtime import OnEvent
from targets.runtimes.step_timer import StepTimer

_LONGEST = 2**22
"""Most bytes of a line that are kept until its end: no event is that long."""
_LONGEST_TEXT = 8_000
"""Most characters of a message that are shown."""
_MOST_REMARKS = 200
"""Most warnings and notes of a step that are shown."""
_MOST_METRICS = 16
_LARGEST = 2**63


class EventReader:
    """Reads one JSON object per line; any other line goes to ``log``, and so does an event that no
    step of the plan can have at that moment.

    Remembers the running step and the reported failure, which explain the end of the process.
    """

    def __init__(
        self,
        on_event: OnEvent,
        log: Log,
        steps: Iterable[str],
        timer: StepTimer | None = None,
    ) -> None:
        """``steps`` are the names of the plan's, in order; ``timer`` is started anew with each."""
        self._on_event = on_event
        self._log = log
        self._ahead = list(steps)
        self._names = frozenset(self._ahead)
        self._timer = timer
        self._rest = b""
        self._remarks = 0
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
            event = EVENT.validate_json(line)
            taken = self._expects(event)
            shown = _shown(event, self._streamed) if taken else None
        except ValidationError:
            shown = None
        if shown is None:
            self._log.write(line + b"\n")
            return
        if isinstance(shown, StepStarted):
            self._begin(event.step, shown.step)
        elif isinstance(shown, StepFailed):
            self.failure = shown
        self._on_event(shown)

    def _begin(self, name: str, shown: str) -> None:
        del self._ahead[: self._ahead.index(name) + 1]
        self.step = shown
        self._remarks = 0
        if self._timer is not None:
            self._timer.restart()

    def _expects(self, event: Event) -> bool:
        """Return whether a step of the plan can say that now. Each begins once: its time is
        measured from then on."""
        match event:
            case StepStarted():
                return event.step in self._ahead
            case StepProgress():
                possible = max(abs(event.done), abs(event.total)) < _LARGEST
            case StepFinished():
                possible = math.isfinite(event.seconds) and 0 <= event.seconds < _LARGEST
            case Warned() | Noted():
                self._remarks += 1
                possible = self._remarks <= _MOST_REMARKS
            case _:
                possible = True
        return possible and event.step in self._names


def _shown(event: Event, streamed: Streamed) -> Event:
    """Return ``event`` with each text of the process as one line; what ``try`` streams has more.
    A reply goes to the program that asked, which gets it as it is, in JSON."""
    if isinstance(event, Reply):
        return event
    if isinstance(event, Text):
        return event.model_copy(update={"text": streamed.piece(event.text)})
    texts = {name: _line(value) for name, value in event if isinstance(value, str)}
    if isinstance(event, StepProgress):
        metrics = [(_line(name), value) for name, value in event.metrics.items()]
        return event.model_copy(update={**texts, "metrics": dict(metrics[:_MOST_METRICS])})
    return event.model_copy(update=texts)


def _line(text: str) -> str:
    cut = text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]} ..."
    return one_line(cut)
