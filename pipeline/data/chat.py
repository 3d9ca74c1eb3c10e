"""Reads a column of chat messages."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import JsonValue

ROLES = ("system", "user", "assistant")


@dataclass(frozen=True)
class Message:
    """One turn of a chat; ``role`` is one of :data:`ROLES`."""

    role: str
    content: str


def chat_messages(value: JsonValue) -> tuple[Message, ...]:
    """Return the messages of a column, ``{"role": ..., "content": ...}``; the last is the answer.

    Raises ``ValueError`` with the problem.
    """
    if not isinstance(value, list) or len(value) < 2:
        raise ValueError("messages must be a list of at least a user and an assistant turn")
    turns = []
    for number, turn in enumerate(value, start=1):
        if not isinstance(turn, dict) or not {"role", "content"} <= turn.keys():
            raise ValueError(f"turn {number} must be an object with role and content")
        others = sorted(key for key in turn if key not in ("role", "content") and turn[key])
        if others:
            raise ValueError(
                f"turn {number} has {', '.join(others)}, which would not be learnt: only role and "
                "content are; write it into the content, as the model has to say it"
            )
        role, content = turn["role"], turn["content"]
        if not isinstance(role, str) or role not in ROLES:
            raise ValueError(f"turn {number} has role {role!r}; one of {', '.join(ROLES)}")
        if not isinstance(content, str) or not content.strip():
            raise ValueError(f"turn {number} has no text")
        turns.append(Message(role, content))
    if turns[-1].role != "assistant":
        raise ValueError("the last turn must be the assistant's: it is what the model learns")
    return tuple(turns)
