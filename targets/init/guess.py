"""Guesses from the rows of a data file how they become prompts and answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

from pipeline.contract.data_spec import MOST_LABELS
from pipeline.data.row_store import Row

_PROMPTS = ("prompt", "question", "instruction", "query", "input", "text", "phrase", "sentence")
_ANSWERS = ("completion", "answer", "response", "output", "label", "target", "category", "class")
"""Names that such columns often have, the likeliest first."""
_ROWS_OF_A_CLASS = 3
"""How many rows at least a class has on average: with fewer, answers are texts that repeat."""


@dataclass(frozen=True)
class Columns:
    """What the rows of a file have: their columns, in order, and the distinct texts of each."""

    names: tuple[str, ...]
    texts: Mapping[str, tuple[str, ...]]
    """Of columns that hold text in every row, the distinct ones in their order."""
    conversations: tuple[str, ...]
    """Columns that hold lists of messages."""
    rows: int

    @property
    def plain(self) -> tuple[str, ...]:
        """Return the columns that hold text in every row."""
        return tuple(name for name in self.names if name in self.texts)

    def classes(self, column: str) -> tuple[str, ...]:
        """Return the classes that ``column`` holds; none if its texts are no classes."""
        found = self.texts.get(column, ())
        few = 2 <= len(found) <= MOST_LABELS and len(found) * _ROWS_OF_A_CLASS <= self.rows
        return found if few else ()


def columns_of(rows: Sequence[Row]) -> Columns:
    """Return the columns of ``rows``."""
    names = tuple(dict.fromkeys(name for row in rows for name in row.values))
    texts: dict[str, tuple[str, ...]] = {}
    conversations = []
    for name in names:
        values = [row.values.get(name) for row in rows]
        if all(isinstance(value, str) and value.strip() for value in values):
            texts[name] = tuple(dict.fromkeys(str(value) for value in values))
        elif values and all(map(_is_conversation, values)):
            conversations.append(name)
    return Columns(names, texts, tuple(conversations), len(rows))


def _is_conversation(value: JsonValue) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(turn, dict) and {"role", "content"} <= turn.keys() for turn in value)
    )


def likely_prompt(columns: Columns, answer: str | None = None) -> str | None:
    """Return the column that is probably the prompt; ``None`` if several could be."""
    return _likely(_PROMPTS, [name for name in columns.plain if name != answer])


def likely_answer(columns: Columns, prompt: str | None = None) -> str | None:
    """Return the column that is probably the answer; ``None`` if several could be."""
    others = [name for name in columns.plain if name != prompt]
    named = _likely(_ANSWERS, others)
    if named is not None:
        return named
    classes = [name for name in others if columns.classes(name)]
    return classes[0] if len(classes) == 1 else None


def _likely(known: Iterable[str], names: Sequence[str]) -> str | None:
    by_name = {name.lower(): name for name in names}
    for name in known:
        if name in by_name:
            return by_name[name]
    return names[0] if len(names) == 1 else None


def data_table(columns: Columns, prompt: str, answer: str) -> dict[str, Any]:
    """Return the keys of ``[data.NAME]`` for rows with these columns, or texts with
    ``{column}`` fields."""
    table: dict[str, Any] = {
        "prompt": _field(prompt, columns),
        "completion": _field(answer, columns),
    }
    classes = columns.classes(answer)
    if classes:
        table |= {"label": answer, "labels": list(classes)}
    return table


def _field(text: str, columns: Columns) -> str:
    return f"{{{text}}}" if text in columns.names else text
