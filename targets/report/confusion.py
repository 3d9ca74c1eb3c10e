"""Which labels a model takes for which: its confusion matrix, and the figures of each label."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import JsonValue


@dataclass(frozen=True)
class LabelScores:
    """How a model does on one label. Shares are between 0 and 1."""

    label: str
    precision: float | None
    """Share of right ones among the answers with this label; ``None`` if there is no such answer.
    """
    recall: float | None
    """Share of right ones among the rows of this label; ``None`` if there is no such row."""
    f1: float
    """Harmonic mean of both."""
    rows: int
    """Held-out rows of this label."""


@dataclass(frozen=True)
class Mistaken:
    """How often a label was taken for another."""

    truth: str
    chosen: str
    count: int


@dataclass(frozen=True)
class Confusion:
    """The confusion matrix of a model: its answers per label."""

    whose: str
    labels: tuple[str, ...]
    counts: Mapping[str, Mapping[str, int]]

    def share(self, truth: str, chosen: str) -> float:
        """Return the share of a label's prompts that got this answer."""
        total = sum(self.counts[truth].values())
        return self.counts[truth].get(chosen, 0) / total if total else 0.0

    def scores(self) -> Iterator[LabelScores]:
        """Yield the figures of each label that is in the rows or in the answers."""
        for label in self.labels:
            right = self.counts[label].get(label, 0)
            rows = sum(self.counts[label].values())
            answers = sum(row.get(label, 0) for row in self.counts.values())
            if rows + answers:
                yield LabelScores(
                    label,
                    right / answers if answers else None,
                    right / rows if rows else None,
                    2 * right / (rows + answers),
                    rows,
                )

    def mistakes(self) -> list[Mistaken]:
        """Return which labels were taken for which others, the most frequent first."""
        found = [
            Mistaken(truth, chosen, count)
            for truth, row in self.counts.items()
            for chosen, count in row.items()
            if count and truth != chosen
        ]
        return sorted(found, key=lambda one: (-one.count, one.truth, one.chosen))


def confusions(quality: Mapping[str, JsonValue], target: str) -> Iterator[Confusion]:
    """Yield the confusion matrix of the fine-tuned model and of the artifact for ``target``, as far
    as ``quality`` has them."""
    details = quality.get("details")
    for name, whose in (("tuned", "fine-tuned model"), ("artifact", f"{target} artifact")):
        scores = details.get(name) if isinstance(details, dict) else None
        table = scores.get("confusion") if isinstance(scores, dict) else None
        if isinstance(table, dict) and table:
            yield _confusion(whose, table)


def _confusion(whose: str, table: Mapping[str, JsonValue]) -> Confusion:
    counts = {
        truth: {choice: int(n) for choice, n in row.items() if isinstance(n, (int, float))}
        for truth, row in table.items()
        if isinstance(row, dict)
    }
    labels = tuple(dict.fromkeys([*counts, *(name for row in counts.values() for name in row)]))
    return Confusion(whose, labels, {name: counts.get(name, {}) for name in labels})
