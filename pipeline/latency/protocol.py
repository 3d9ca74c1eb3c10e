"""The protocol between the measuring process and the measured one: messages of one JSON line.

::

    → Settings                      on the command line
    ← Ready                         once the libraries are imported
    → LOAD
    ← Loaded                        once the model can be asked
    → Question   ← Times            any number of times; the end of its input ends the process
    ← Failed                        instead of any answer; the process ends
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter

from pipeline.contract.frozen import Frozen


class WorkerSettings(Frozen):
    """The model that the process loads, and the CPUs that it may use."""

    folder: str
    """An ONNX Runtime GenAI model folder."""
    cpu: bool = False
    """Run it on the CPU, whatever it was built for."""
    cpus: tuple[int, ...] = ()
    """CPUs to pin the process to; empty for no pinning."""


class Question(Frozen):
    """A prompt to answer."""

    ids: tuple[int, ...]
    tokens: int
    """Number of tokens to generate; the model is kept from ending earlier."""


LOAD = "load"
"""The line that has a process load its model."""


class Ready(Frozen):
    """The libraries are imported. The process waits, and takes no time from others."""

    type: Literal["ready"] = "ready"


class Loaded(Frozen):
    """The model is loaded."""

    type: Literal["loaded"] = "loaded"
    load_ms: float
    """Time to load the model, in milliseconds, without the imports."""
    bytes_before: int
    """Peak resident set of the process in bytes before it loaded the model: Python and libraries.
    """


class AnswerTimes(Frozen):
    """One answer."""

    type: Literal["times"] = "times"
    spans_ms: tuple[float, ...]
    """Milliseconds between tokens; the first one from passing the prompt to the first token."""
    peak_bytes: int
    """Peak resident set of the process so far, in bytes."""


class Failed(Frozen):
    """The artifact cannot be loaded or run."""

    type: Literal["failed"] = "failed"
    cause: Literal["artifact", "beyond_cpu", "memory"]
    message: str


Reply = Annotated[Ready | Loaded | AnswerTimes | Failed, Field(discriminator="type")]
REPLY: TypeAdapter[Reply] = TypeAdapter(Reply, config=ConfigDict(defer_build=True))
