"""What a training step shows of its rows: what was found, lengths in tokens, rendered examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import JsonValue, ValidationError

from pipeline.contract.frozen import Frozen
from pipeline.data.findings import Lengths, Look

if TYPE_CHECKING:
    from pipeline.data.examples import Example
    from pipeline.data.tokenize import Codec

METRIC = "data"
"""Name of the training step's metric that holds a :class:`TrainedView`."""

KEPT = "view"
"""Name of the metric with one of a step that only makes tokens, whose training shows it."""

_SAMPLES = 3
_LONGEST = 600
"""Characters that are shown of a piece; of a longer one, both ends."""


class Piece(Frozen):
    """A part of a rendered row."""

    text: str
    learnt: bool


class Sample(Frozen):
    """A row as the model is trained on it, special tokens included."""

    place: str
    pieces: tuple[Piece, ...]


class TrainedView(Frozen):
    """What a person should see of the rows that a model is trained on."""

    look: Look
    lengths: dict[str, Lengths]
    """In tokens, per part; none where rows are joined and cut to sequences."""
    max_length: int
    context: int | None
    samples: tuple[Sample, ...]
    every: int = 1
    """Of how many rows one was counted; with 1, all of them."""

    @property
    def words(self) -> str:
        """Return the lengths in one sentence; empty if there are none."""
        found = "; ".join(
            f"{name} p50 {of.p50}, p90 {of.p90}, p99 {of.p99}, longest {of.longest}"
            for name, of in self.lengths.items()
        )
        context = f", context {self.context}" if self.context is not None else ""
        return f"tokens of a row: {found}; max_length {self.max_length}{context}" if found else ""


def trained_view(metrics: Mapping[str, JsonValue], name: str = METRIC) -> TrainedView | None:
    """Return what a training step showed of its rows; ``None`` for other steps. ``name`` is that of
    its metric."""
    try:
        return TrainedView.model_validate(metrics[name]) if name in metrics else None
    except ValidationError:  # another step's metric of that name
        return None


def chosen(examples: Sequence[Example]) -> list[Example]:
    """Return the examples to show: the first of up to three labels, else the first three."""
    first: dict[str | None, Example] = {}
    for example in examples:
        first.setdefault(example.label, example)
        if len(first) == _SAMPLES:
            break
    some = list(first.values())
    some += [example for example in examples[: 2 * _SAMPLES] if example not in some]
    return sorted(some[:_SAMPLES], key=lambda example: (example.file, example.line))


def samples_of(examples: Sequence[Example], codec: Codec) -> tuple[Sample, ...]:
    """Return some examples as they are rendered, with what is learnt of each."""
    # Whoever only reads a view does without what makes one.
    from pipeline.data.tokenize import encode

    return tuple(
        Sample(
            place=example.place,
            pieces=tuple(
                Piece(text=_short(text), learnt=learnt)
                for text, learnt in codec.pieces(encode(example, codec)[0])
            ),
        )
        for example in chosen(examples)
    )


def _short(text: str) -> str:
    if len(text) <= _LONGEST:
        return text
    half = _LONGEST // 2
    return f"{text[:half]} […{len(text) - 2 * half} more…] {text[-half:]}"
