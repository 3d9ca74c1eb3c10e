"""Reads a column of chat messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from pipeline.data.load import text_of

ROLES = ("system", "user", "assistant")

_WEIGHTS = ("weight", "train")
"""Keys that say whether a turn is learnt: OpenAI's, and that of other trainers."""
_NOTHING: tuple[JsonValue, ...] = (None, "", [], {})


@dataclass(frozen=True)
class Message:
    """One turn of a chat; ``role`` is one of :data:`ROLES`."""

    role: str
    content: str


def chat_messages(value: JsonValue) -> tuple[Message, ...]:
    """Return the messages of a column, ``{"role": ..., "content": ...}``; the last is the answer.

    ``weight`` and ``train`` may say just that: 1 for the last turn, 0 for those before it.

    Raises ``ValueError`` with the problem.
    """
    if not isinstance(value, list) or len(value) < 2:
        raise ValueError("messages must be a list of at least a user and an assistant turn")
    turns = []
    for number, turn in enumerate(value, start=1):
        if not isinstance(turn, dict) or not {"role", "content"} <= turn.keys():
            raise ValueError(f"turn {number} must be an object with role and content")
        known = ("role", "content", *_WEIGHTS)
        others = sorted(key for key in turn if key not in known and turn[key] not in _NOTHING)
        if others:
            raise ValueError(
                f"turn {number} has {', '.join(others)}, which would not be learnt: only role and "
                "content are; write it into the content, as the model has to say it"
            )
        _require_weight(turn, number, learnt=number == len(value))
        role, content = turn["role"], turn["content"]
        if not isinstance(role, str) or role not in ROLES:
            raise ValueError(f"turn {number} has role {role!r}; one of {', '.join(ROLES)}")
        if isinstance(content, list):
            raise ValueError(f"turn {number} has its content in parts; only text is read: join it")
        if not isinstance(content, str) or not content.strip():
            raise ValueError(f"turn {number} has no text")
        turns.append(Message(role, content))
    if turns[-1].role != "assistant":
        raise ValueError("the last turn must be the assistant's: it is what the model learns")
    return tuple(turns)


def _require_weight(turn: Mapping[str, JsonValue], number: int, learnt: bool) -> None:
    """Raise ``ValueError`` where a turn is to be learnt otherwise than it is: the last one is."""
    for key in _WEIGHTS:
        weight = turn.get(key)
        if weight is not None and weight != int(learnt):
            wanted = "is learnt, and no other" if learnt else "is not learnt: only the last is"
            raise ValueError(f"turn {number} has {key} {text_of(weight)}, but it {wanted}")
