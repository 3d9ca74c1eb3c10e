"""The protocol between the measuring process and the measured one: messages of one JSON line.

::

    → Settings                      on the command line
    ← Ready                         once the libraries are imported
    → LOAD
    ← Loaded                        once the model can be asked
    → Question   ← Times            any number of times; the end of its input ends the process
    ← Failed                        instead of any answer; the process ends

Plain dataclasses: pydantic takes as long to import as the runtime, in each process that is timed.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

LOAD = "load"
"""The line that has a process load its model."""


@dataclass(frozen=True)
class WorkerSettings:
    """The model that the process loads, and the CPUs that it may use."""

    folder: str
    """An ONNX Runtime GenAI model folder."""
    cpu: bool = False
    """Run it on the CPU, whatever it was built for."""
    cpus: tuple[int, ...] = ()
    """CPUs to pin the process to; empty for no pinning."""


@dataclass(frozen=True)
class Question:
    """A prompt to answer."""

    ids: tuple[int, ...]
    tokens: int
    """Number of tokens to generate; the model is kept from ending earlier."""


@dataclass(frozen=True)
class Ready:
    """The libraries are imported. The process waits, and takes no time from others."""


@dataclass(frozen=True)
class Loaded:
    """The model is loaded."""

    load_ms: float
    """Time to load the model, in milliseconds, without the imports."""
    bytes_before: int
    """Peak resident set of the process in bytes before it loaded the model: Python and libraries.
    """


@dataclass(frozen=True)
class AnswerTimes:
    """One answer."""

    spans_ms: tuple[float, ...]
    """Milliseconds between tokens; the first one from passing the prompt to the first token."""
    peak_bytes: int
    """Peak resident set of the process so far, in bytes."""


@dataclass(frozen=True)
class Failed:
    """The artifact cannot be loaded or run."""

    cause: Literal["artifact", "beyond_cpu", "memory"]
    message: str


Message = WorkerSettings | Question | Ready | Loaded | AnswerTimes | Failed
Reply = Ready | Loaded | AnswerTimes | Failed
_MESSAGES: dict[str, Any] = {
    kind.__name__: kind for kind in (WorkerSettings, Question, Ready, Loaded, AnswerTimes, Failed)
}


def to_line(message: Message) -> str:
    """Return ``message`` as a line of JSON, without its end."""
    return json.dumps({"type": type(message).__name__, **asdict(message)})


def from_line(line: str) -> Any:
    """Return the message that :func:`to_line` wrote."""
    fields = json.loads(line)
    kind = _MESSAGES[fields.pop("type")]
    # JSON has no tuples.
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    return kind(**values)
