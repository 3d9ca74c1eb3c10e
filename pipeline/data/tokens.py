"""Rows of token ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

IGNORED = -100
"""Label of a token that carries no loss (``ignore_index`` of torch's cross entropy)."""


@dataclass(frozen=True)
class Tokens:
    """One training row: ids, and labels, which are the ids or :data:`IGNORED` without loss."""

    ids: tuple[int, ...]
    labels: tuple[int, ...]

    @property
    def answer(self) -> slice:
        """Return the last consecutive tokens with loss, without the first token of the row, before
        which there is no prompt."""
        end = max(at for at, label in enumerate(self.labels) if label != IGNORED) + 1
        begin = end
        while begin > 1 and self.labels[begin - 1] != IGNORED:
            begin -= 1
        return slice(begin, end)


def token_row(values: Mapping[str, JsonValue], learn_all: bool = False) -> Tokens:
    """Read the columns ``input_ids`` and, if present, ``labels`` and ``attention_mask``.

    Tokens with a mask of 0 are padding, and removed. Raises ``ValueError`` with the problem.
    """
    ids = _numbers(values, "input_ids")
    labels = _numbers(values, "labels") if values.get("labels") is not None else ids
    mask = _numbers(values, "attention_mask") if values.get("attention_mask") else [1] * len(ids)
    for name, column in (("labels", labels), ("attention_mask", mask)):
        if len(column) != len(ids):
            raise ValueError(
                f"the column {name!r} has {len(column)} numbers for {len(ids)} input_ids"
            )
    if min(ids, default=0) < 0:
        raise ValueError("the column 'input_ids' holds a negative number")
    attended = [at for at, attends in enumerate(mask) if attends]
    row = Tokens(tuple(ids[at] for at in attended), tuple(labels[at] for at in attended))
    if learn_all:
        row = Tokens(row.ids, row.ids)
    if len(row.ids) < 2:
        raise ValueError("the column 'input_ids' needs at least two tokens")
    # The first token carries no loss: there is no token before it.
    if all(label == IGNORED for label in row.labels[1:]):
        raise ValueError(f"nothing is learnt: all labels are {IGNORED}")
    if any(
        label not in (IGNORED, token_id)
        for token_id, label in zip(row.ids, row.labels, strict=True)
    ):
        raise ValueError(f"each label must be the token itself or {IGNORED}")
    return row


def _numbers(values: Mapping[str, JsonValue], name: str) -> list[int]:
    column = values.get(name)
    if not isinstance(column, list):
        raise ValueError(f"the column {name!r} must be a list of numbers")
    integers = [item for item in column if isinstance(item, int) and not isinstance(item, bool)]
    if len(integers) < len(column):
        raise ValueError(f"the column {name!r} must hold whole numbers")
    return integers
