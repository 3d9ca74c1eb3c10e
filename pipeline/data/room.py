"""Whether rows fit into the context of a model."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.contract.errors import StepError
from pipeline.data.examples import Example
from pipeline.data.problems import named
from pipeline.data.tokenize import Codec, encode


def require_room(examples: Sequence[Example], codec: Codec, context: int | None) -> tuple[int, ...]:
    """Return the number of tokens of each held-out row, prompt and answer.

    Raises :class:`StepError` with all rows that are longer than the model's ``context``: it cannot
    be asked them, which nobody should learn after the training.
    """
    codec.require_text(examples)
    codec.require_read(examples)
    lengths = tuple(len(encode(example, codec)[0].ids) for example in examples)
    if context is not None:
        long = [
            f"{example.place} ({length} tokens)"
            for example, length in zip(examples, lengths, strict=True)
            if length > context
        ]
        if long:
            raise StepError(
                f"{len(long)} of {len(examples)} held-out rows are longer than the model's context "
                f"of {context} tokens: {named(long)}",
                "shorten them, or take them out of the data set",
                "bad_input",
            )
    return lengths
