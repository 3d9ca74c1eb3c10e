"""What an artifact is asked, and how a program asks it while it is served."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from pipeline.contract.frozen import Frozen
from pipeline.data.constraint import Constraint


class Turn(Frozen):
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


class Question(Frozen):
    """The prompt: exactly one of ``text``, ``messages`` and ``prompt``."""

    text: str | None = None
    """One message of a user, put into the chat template if the tokenizer has one."""
    messages: tuple[Turn, ...] | None = Field(default=None, min_length=1)
    """A whole conversation for the chat template."""
    prompt: str | None = None
    """Raw text, without a chat template."""
    constraint: Constraint | None = None
    """The form to which the answer is held."""
    max_new_tokens: int = Field(default=256, ge=1)

    @model_validator(mode="after")
    def _one_question(self) -> Self:
        set_keys = [
            name for name in ("text", "messages", "prompt") if getattr(self, name) is not None
        ]
        if len(set_keys) != 1:
            listed = " and ".join(set_keys) or "none of them"
            raise ValueError(f"give exactly one of text, messages, prompt (found {listed})")
        return self


class Request(Frozen):
    """A line on standard input of the process that serves an artifact."""

    number: int
    """Which of the requests it is; replies repeat it."""
    question: Question | None = None
    """``None``: nobody waits for the answer any longer."""
    search: dict[str, bool | int | float] = Field(default_factory=dict)
    """Options of the runtime in place of the artifact's own."""
    stop: tuple[str, ...] = ()
    """Texts before which an answer ends."""
