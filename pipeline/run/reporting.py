"""Writes events as JSON lines, and limits how often progress is reported."""

from __future__ import annotations

import math
import threading
import time
from typing import IO

from pipeline.contract.events import Event, Noted, Reply, StepProgress, Text, Warned

PACE = 0.2
"""Shortest time in seconds between two progress events; the one of the last unit is always sent."""


class EventWriter:
    """Writes events to the stream that was standard output when the process began."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Write ``event`` as one line and flush it. Raises ``BrokenPipeError`` if nobody reads."""
        with self._lock:
            self._stream.write(event.model_dump_json() + "\n")
            self._stream.flush()


class StepReporter:
    """The :class:`pipeline.contract.step.Reporter` of one step."""

    def __init__(self, step: str, write: EventWriter) -> None:
        self._step = step
        self._write = write
        self._next = 0.0

    def progress(self, done: int, total: int, unit: str = "steps", **metrics: float) -> None:
        """Write a progress event, unless the last one is younger than :data:`PACE`."""
        now = time.monotonic()
        if done < total and now < self._next:
            return
        self._next = now + PACE
        # JSON has no NaN.
        shown = {name: value for name, value in metrics.items() if math.isfinite(value)}
        self._write(StepProgress(step=self._step, done=done, total=total, unit=unit, metrics=shown))

    def warn(self, message: str) -> None:
        """Write a warning event."""
        self._write(Warned(step=self._step, message=message))

    def note(self, message: str) -> None:
        """Write a note event."""
        self._write(Noted(step=self._step, message=message))

    def text(self, text: str) -> None:
        """Write a piece of generated text."""
        self._write(Text(step=self._step, text=text))

    def reply(self, reply: Reply) -> None:
        """Write a piece of the answer to a request."""
        self._write(reply.model_copy(update={"step": self._step}))
