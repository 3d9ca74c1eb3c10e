"""Whether rows fit into the context of a model."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.contract.errors import StepError
from pipeline.data.examples import Example
from pipeline.data.problems import named
from pipeline.data.refusals import Refusals
from pipeline.data.tokenize import Codec, encoded


def require_room(examples: Sequence[Example], codec: Codec, context: int | None) -> tuple[int, ...]:
    """Return the number of tokens of each held-out row, prompt and answer.

    Raises :class:`StepError` with all rows that are refused, or are longer than the model's
    ``context``: it cannot be asked them, which nobody should learn after the training.
    """
    refused = Refusals()
    lengths: list[int] = []
    long: list[str] = []
    for example, row, _ in encoded(examples, codec, refused):
        lengths.append(len(row.ids))
        if context is not None and len(row.ids) > context:
            long.append(f"{example.place} ({len(row.ids)} tokens)")
    if long:
        error = StepError(
            f"{len(long)} of {len(examples)} held-out rows are longer than the model's context of "
            f"{context} tokens: {named(long)}",
            "shorten them, or take them out of the data set",
            "bad_input",
        )
        refused.add([error])
    refused.require_none()
    return tuple(lengths)
