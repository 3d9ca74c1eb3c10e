"""Finds what turns and tools hold and a chat template does not write."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from pydantic import JsonValue

from pipeline.contract.errors import StepError
from pipeline.data.chat import Message

_REFERENCES = ("id", "tool_call_id", "index")
"""Keys that connect a call with its result: nothing that a model has to see."""
_KIND = ("type", "function")
"""The only kind of tool that there is."""

Render = Callable[[Sequence[Message], Sequence[JsonValue]], str]
"""Renders turns and tools."""


class Unread(NamedTuple):
    """A value that does not change what a template makes of a conversation."""

    path: str
    """``turn 2's tool_calls[0].function.name``."""
    only_here: bool
    """Whether it would be written if the conversation ended with its turn: templates leave the
    thoughts of earlier turns out, also when the model is asked."""


def unread(
    turns: Sequence[Message], tools: Sequence[JsonValue], render: Render
) -> Iterator[Unread]:
    """Yield each value of ``tools`` and of other keys than role and content that may be anything
    else without a change of the rendered conversation."""
    whole = render(turns, tools)
    for path, other in _changes(list(tools)):
        if isinstance(other, list) and not _differs(whole, turns, other, render):
            yield Unread(f"tools{path}", only_here=False)
    for at, turn in enumerate(turns):
        for path, changed in _changed_turns(turn) if turn.others else ():
            if _differs(whole, [*turns[:at], changed, *turns[at + 1 :]], tools, render):
                continue
            so_far = render(turns[: at + 1], tools)
            read = _differs(so_far, [*turns[:at], changed], tools, render)
            yield Unread(f"turn {at + 1}'s {path}", only_here=read)


def _changed_turns(turn: Message) -> Iterator[tuple[str, Message]]:
    """Yield the turn with another value in each place but its role."""
    for path, given in _changes_in_object({"content": turn.content, **turn.others}):
        content = given["content"]
        others = {key: value for key, value in given.items() if key != "content" or value is None}
        text = content if isinstance(content, str) else ""
        yield path.removeprefix("."), Message(turn.role, text, others)


def _differs(
    text: str, turns: Sequence[Message], tools: Sequence[JsonValue], render: Render
) -> bool:
    try:
        return render(turns, tools) != text
    except StepError:  # it has been read, and found wrong
        return True


def _changes(value: JsonValue) -> Iterator[tuple[str, JsonValue]]:
    """Yield the place of each text, number and truth value in ``value``, and ``value`` with
    another one there."""
    if isinstance(value, dict):
        yield from _changes_in_object(value)
    elif isinstance(value, list):
        for at, item in enumerate(value):
            for path, other in _changes(item):
                yield f"[{at}]{path}", [*value[:at], other, *value[at + 1 :]]
    elif isinstance(value, bool):
        yield "", not value
    elif isinstance(value, (int, float)):
        yield "", value + 1
    elif value:
        yield "", f"{value} quern"


def _changes_in_object(
    value: Mapping[str, JsonValue],
) -> Iterator[tuple[str, dict[str, JsonValue]]]:
    for key, item in value.items():
        if (key in _REFERENCES and not isinstance(item, (dict, list))) or (key, item) == _KIND:
            continue
        for path, other in _changes(item):
            yield f".{key}{path}", {**value, key: other}


def shape_of(value: JsonValue) -> object:
    """Return what ``value`` is without its texts and numbers; two of the same shape are read by a
    template in the same way."""
    if isinstance(value, dict):
        return tuple((key, shape_of(item)) for key, item in value.items())
    if isinstance(value, list):
        return tuple(map(shape_of, value))
    return type(value), bool(value)
