"""What the measuring process and the one that is measured say to each other, a line of JSON each.

::

    → Settings                      on the command line
    ← Loaded                        once the model can be asked
    → Question   ← Times            as often as wanted; the end of its input ends the process
    ← Failed                        in place of any answer; the process ends
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from pipeline.contract.frozen import Frozen


class Settings(Frozen):
    """What the process measures, and where it may run."""

    folder: str
    """An ONNX Runtime GenAI model folder."""
    cpu: bool = False
    """Run it on the CPU, whatever it was built for."""
    cpus: tuple[int, ...] = ()
    """CPUs to be pinned to; none leaves the process where it is."""


class Question(Frozen):
    """A prompt to answer."""

    ids: tuple[int, ...]
    tokens: int
    """How many tokens to generate; the model is kept from ending earlier."""


class Loaded(Frozen):
    """The model can be asked."""

    said: Literal["loaded"] = "loaded"
    load_ms: float
    """From the folder to there, without the imports before it."""
    bytes_before: int
    """Peak resident set of the process before it loaded the model: Python and the libraries."""


class Times(Frozen):
    """One answer."""

    said: Literal["times"] = "times"
    spans_ms: tuple[float, ...]
    """Time to each token, from the one before; the first from handing over the prompt."""
    peak_bytes: int
    """Peak resident set of the process so far."""


class Failed(Frozen):
    """The artifact cannot be loaded or asked."""

    said: Literal["failed"] = "failed"
    cause: Literal["artifact", "beyond_cpu", "memory"]
    message: str


Reply = Annotated[Loaded | Times | Failed, Field(discriminator="said")]
REPLY: TypeAdapter[Reply] = TypeAdapter(Reply)
