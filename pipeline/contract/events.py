"""Events that the container sends to the host: one JSON object per line on standard output."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter

from pipeline.contract.errors import Cause
from pipeline.contract.frozen import Frozen
from pipeline.contract.result import Status


class StepStarted(Frozen):
    """A step begins."""

    event: Literal["started"] = "started"
    step: str


class StepProgress(Frozen):
    """``done`` of ``total`` units are complete; ``metrics`` are the newest figures (loss, ...)."""

    event: Literal["progress"] = "progress"
    step: str
    done: int
    total: int
    unit: str = "steps"
    metrics: dict[str, float] = Field(default_factory=dict)


class StepFinished(Frozen):
    """A step is complete, with all of its files on disk."""

    event: Literal["finished"] = "finished"
    step: str
    seconds: float
    peak_rss_bytes: int
    status: Status | None = None
    """What a check came to; ``None`` for a pass."""


class StepFailed(Frozen):
    """A step failed. ``cause`` decides the exit code; ``hint`` says what the user can do."""

    event: Literal["failed"] = "failed"
    step: str
    cause: Cause
    message: str
    hint: str = ""


class Warned(Frozen):
    """Something the user should know that does not stop the build."""

    event: Literal["warning"] = "warning"
    step: str
    message: str


class Noted(Frozen):
    """A fact of a step's work that asks for nothing."""

    event: Literal["note"] = "note"
    step: str
    message: str


class Text(Frozen):
    """A piece of generated text, streamed by ``try``."""

    event: Literal["text"] = "text"
    step: str
    text: str


class Reply(Frozen):
    """A piece of the answer to one request, streamed by ``serve``."""

    event: Literal["reply"] = "reply"
    step: str
    number: int
    """Of the request."""
    text: str = ""
    ended: Literal["", "stop", "length", "refused", "failed"] = ""
    """Set in the last piece: the answer is whole, was cut, or there is none."""
    message: str = ""
    """Why there is none."""
    prompt_tokens: int = Field(default=0, ge=0)
    new_tokens: int = Field(default=0, ge=0)


Event = Annotated[
    StepStarted | StepProgress | StepFinished | StepFailed | Warned | Noted | Text | Reply,
    Field(discriminator="event"),
]
EVENT: TypeAdapter[Event] = TypeAdapter(Event, config=ConfigDict(defer_build=True))
