"""Reads a column of chat messages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from pipeline.data.load import is_blank, text_of, texts_in
from pipeline.reading.json_text import JsonError, JsonReader

ROLES = ("system", "developer", "user", "assistant", "tool")
ANSWERING = "assistant"

_WEIGHTS = ("weight", "train")
"""Keys that say whether a turn is learnt: OpenAI's, and that of other trainers."""
_SHAREGPT_ROLES = {"human": "user", "gpt": "assistant", "observation": "tool"}
"""Roles of turns with the keys ``from`` and ``value``, where they have other names there."""
_READER = JsonReader(strict=True)


@dataclass(frozen=True)
class Message:
    """One turn of a chat; ``role`` is one of :data:`ROLES`."""

    role: str
    content: str
    others: Mapping[str, JsonValue] = field(default_factory=dict)
    """Other keys, as given, for templates that read them: ``tool_calls``, ``reasoning_content``."""
    learnt: bool = False
    """Whether the turn is learnt although another one is the answer."""

    @property
    def for_template(self) -> dict[str, JsonValue]:
        """Return the turn as chat templates read it: without keys that are null, as transformers
        gives it to them."""
        turn = {"role": self.role, "content": self.content, **self.others}
        return {key: value for key, value in turn.items() if value is not None}

    @property
    def texts(self) -> tuple[str, ...]:
        """Return all texts of the turn that a template may write."""
        return (self.content, *texts_in(dict(self.others)))

    @property
    def words(self) -> str:
        """Return the turn for people: its content, and its other keys as JSON."""
        if not self.others:
            return self.content
        shown = {key: value for key, value in self.others.items() if value is not None}
        parts = (self.content, json.dumps(shown, ensure_ascii=False) if shown else "")
        return "\n".join(filter(None, parts))


def chat_messages(value: JsonValue) -> tuple[Message, ...]:
    """Return the messages of a column, ``{"role": ..., "content": ...}``; the last is the answer.
    They may be the JSON text of such a list, as in CSV, and have ShareGPT's keys, ``from`` and
    ``value``.

    ``weight`` and ``train``, 0 or 1, say which of the assistant's turns are learnt; of those that
    say nothing it is the last of the conversation. What follows the last one that is learnt has no
    part in it and is left out. Other keys are kept for the chat template, but for those that are
    null, as in tables where another row has such a key.

    Raises ``ValueError`` with the problem.
    """
    value = _from_json(value, "messages are")
    if not isinstance(value, list) or len(value) < 2:
        raise ValueError("messages must be a list of at least a user and an assistant turn")
    turns = [
        _message(turn, number, last=number == len(value))
        for number, turn in enumerate(value, start=1)
    ]
    if turns[-1].role != ANSWERING and not any(turn.learnt for turn in turns):
        raise ValueError("the last turn must be the assistant's: it is what the model learns")
    while turns and not turns[-1].learnt:
        turns.pop()
    if not turns:
        raise ValueError("no turn is learnt: give one of the assistant's the weight 1")
    if len(turns) == 1:
        raise ValueError("turn 1 is learnt, but nothing stands before it that it could answer")
    return tuple(turns)


def tools_of(value: JsonValue) -> tuple[JsonValue, ...]:
    """Return the tools of a row, a list of JSON schemas, or the JSON text of it or of each; ``()``
    if there are none. Raises ``ValueError`` with the problem."""
    value = _from_json(value, "the column 'tools' is")
    if value in (None, "", [], {}):
        return ()
    if isinstance(value, list):
        tools = tuple(_from_json(tool, "a tool is") for tool in value)
        if all(isinstance(tool, dict) for tool in tools):
            return tools
    raise ValueError("the column 'tools' must be a list of objects, one for each tool")


def _from_json(value: JsonValue, what: str) -> JsonValue:
    """Return the value of a JSON text, and any other as it is."""
    if not isinstance(value, str) or not value.strip():
        return value
    try:
        parsed: JsonValue = _READER.value(value)
    except JsonError as error:
        raise ValueError(f"{what} text, but no JSON: {error}") from None
    return parsed


def _with_roles(turn: JsonValue) -> JsonValue:
    """Return a turn of ShareGPT's layout with the keys and roles of the others."""
    if not isinstance(turn, dict) or "from" not in turn or "role" in turn or "content" in turn:
        return turn
    others = {key: value for key, value in turn.items() if key not in ("from", "value")}
    role = turn["from"]
    name = _SHAREGPT_ROLES.get(role, role) if isinstance(role, str) else role
    return {"role": name, "content": turn.get("value"), **others}


def _message(turn: JsonValue, number: int, last: bool) -> Message:
    turn = _with_roles(turn)
    if not isinstance(turn, dict) or "role" not in turn:
        raise ValueError(f"turn {number} must be an object with role and content")
    role, content = turn["role"], turn.get("content")
    if not isinstance(role, str) or role not in ROLES:
        raise ValueError(f"turn {number} has role {role!r}; one of {', '.join(ROLES)}")
    if isinstance(content, list):
        raise ValueError(f"turn {number} has its content in parts; only text is read: join it")
    others: dict[str, JsonValue] = {
        key: value
        for key, value in turn.items()
        if key not in ("role", "content", *_WEIGHTS) and value is not None
    }
    says_more = role == ANSWERING and any(value not in ("", [], {}) for value in others.values())
    if content is None and says_more:
        # Some templates write the calls of tools only where there is no content, not even "".
        content, others = "", {**others, "content": None}
    if not isinstance(content, str) or (is_blank(content) and not says_more):
        raise ValueError(f"turn {number} has no text")
    return Message(role, content, others, _is_learnt(turn, number, last))


def _is_learnt(turn: Mapping[str, JsonValue], number: int, last: bool) -> bool:
    """Return whether a turn is learnt. Raises ``ValueError`` where it says what cannot be."""
    answers = turn["role"] == ANSWERING
    said = {key: turn[key] for key in _WEIGHTS if turn.get(key) is not None}
    for key, weight in said.items():
        if weight not in (0, 1):
            raise ValueError(f"turn {number} has {key} {text_of(weight)}; it can be 0 or 1")
        if weight and not answers:
            raise ValueError(
                f"turn {number} has {key} {text_of(weight)}, but only turns of the assistant are "
                "learnt"
            )
    if len(set(map(bool, said.values()))) > 1:
        raise ValueError(f"turn {number} has weight and train, which contradict each other")
    return bool(next(iter(said.values()))) if said else last and answers
