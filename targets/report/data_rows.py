"""The rows of a data set as reports and plans show them: labels, lengths and examples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.data.findings import Look
from pipeline.data.trained_view import Piece, Sample, TrainedView, chosen, trained_view

if TYPE_CHECKING:
    from pipeline.data.examples import Example
    from targets.report.report_schema import Report

_LABELS = 20
"""How many labels are listed, the most frequent ones."""


@dataclass(frozen=True)
class CountRow:
    """A label, or all rows, and the number of its rows in each part."""

    name: str
    counts: tuple[int, ...]


def trained_views(report: Report) -> Iterator[tuple[str, TrainedView]]:
    """Yield the training steps of ``report`` by name, with what they showed of their rows."""
    for step in report.passes:
        view = trained_view(step.metrics)
        if view is not None:
            yield step.name, view


def counts(look: Look) -> Iterator[CountRow]:
    """Yield the number of rows per part: of all, and of the most frequent labels."""
    yield CountRow("all", tuple(look.rows.values()))
    frequent = sorted(look.labels.items(), key=lambda item: (-sum(item[1].values()), item[0]))
    for label, per_part in frequent[:_LABELS]:
        yield CountRow(label, tuple(per_part.values()))
    rest = [per_part.values() for _, per_part in frequent[_LABELS:]]
    if rest:
        sums = tuple(map(sum, zip(*rest, strict=True)))
        yield CountRow(f"{len(rest)} other labels", sums)


def plain_samples(examples: Sequence[Example]) -> tuple[Sample, ...]:
    """Return some examples without a chat template, which only the training step has."""
    return tuple(
        Sample(
            place=example.place,
            pieces=(
                *(
                    Piece(text=turn.words, learnt=turn.learnt or example.learn_all)
                    for turn in example.prompt
                ),
                Piece(text=example.answer.words, learnt=True),
            ),
        )
        for example in chosen(examples)
        if example.tokens is None
    )
