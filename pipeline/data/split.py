"""Splits examples into a training, a validation and a held-out part."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import compress, pairwise
from operator import not_

from pipeline.contract.data_spec import Split
from pipeline.data.examples import Example
from pipeline.data.facts import Facts, Ranks, facts_of, indexed
from pipeline.data.row_store import Picked

TRAIN, VALIDATION, EVAL = range(3)
_SAMPLE = "sample"


@dataclass(frozen=True)
class Parts:
    """The three parts, each in the order of the file. Parts of one split have no text in common,
    unless the validation part is the held-out part."""

    train: Sequence[Example]
    validation: Sequence[Example]
    eval: Sequence[Example]
    notes: tuple[str, ...] = ()
    """How files were read."""
    swallowed: tuple[str, ...] = ()
    """Places of rows with a cell that looks like several rows."""

    @property
    def held_out_or_train(self) -> Sequence[Example]:
        """Return the held-out part, or the training part if nothing is held out: prompts for
        purposes other than scoring."""
        return self.eval or self.train


def salts(sampled: bool) -> tuple[str, ...]:
    """Return the salts of the ranks by which parts are drawn, and before them a sample."""
    return ("eval", "validation", *([_SAMPLE] if sampled else []))


def sampled(facts: Facts, picks: Sequence[int], count: int | None) -> Sequence[int]:
    """Return ``count`` of ``picks`` in their order, chosen at random; all if ``None``."""
    if count is None or count >= len(picks):
        return picks
    # Of rows with the same text, the first ones are taken: sorting is stable.
    ranked = facts.ranks[_SAMPLE].ordered(picks)
    return array("Q", sorted(ranked[:count]))


def sample(examples: Sequence[Example], count: int | None, seed: int) -> Sequence[Example]:
    """Return ``count`` examples in their order, chosen at random by ``seed``; all if ``None``."""
    if count is None or count >= len(examples):
        return examples
    facts = facts_of(examples, seed, (_SAMPLE,))
    return Picked(examples, sampled(facts, range(len(examples)), count))


def split(examples: Sequence[Example], spec: Split) -> Parts:
    """Divide ``examples`` by distinct text; every label gets its share of each part.

    Within a label the texts are ordered by a hash of seed and text and cut at the shares. So the
    assignment depends on neither the order of the file nor the platform, and an additional row
    moves at most a text or two. At least one text of each label stays in the training part. Raises
    ``ValueError`` if there are too few distinct texts for all parts.
    """
    facts = facts_of(examples, spec.seed, salts(sampled=False))
    picks = divide(facts, range(len(examples)), spec)
    train, validation, held_out = ([examples[index] for index in some] for some in picks)
    return Parts(train, held_out if spec.validation == "eval" else validation, held_out)


def divide(
    facts: Facts, picks: Sequence[int], spec: Split
) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
    """Divide the examples at ``picks``, whose ``facts`` have the ranks of :func:`salts`, as
    :func:`split` does; return those to train on, to validate with, and held out.

    Takes time in proportion to their number but for sorting.
    """
    if spec.eval == 1 and spec.eval_count is None:
        return (), picks if spec.validation == "eval" else (), picks
    groups = _Groups(facts, picks)
    share = 0.0 if spec.validation == "eval" else spec.validation
    held_out = spec.eval_count if spec.eval_count is not None else int(spec.eval > 0)
    _require(len(groups), {"train": 1, "validation": int(share > 0), "eval": held_out})
    spare = 1 + int(share > 0)
    drawn = _draw(groups, range(len(groups)), spec.eval, spare, spec.eval_count)
    part_of = bytearray(len(groups))
    for group in drawn:
        part_of[group] = EVAL
    if share > 0:
        left = array("Q", compress(groups.firsts, (part != EVAL for part in part_of)))
        ordered = facts.ranks["validation"].ordered(left)
        remaining = array("Q", indexed(groups.numbers, ordered))
        for group in _draw(groups, remaining, share, spare=1):
            part_of[group] = VALIDATION
    parts = (array("Q"), array("Q"), array("Q"))
    for index, part in zip(picks, indexed(part_of, indexed(groups.numbers, picks)), strict=True):
        parts[part].append(index)
    train, validation, held_rows = parts
    return train, held_rows if spec.validation == "eval" else validation, held_rows


class _Groups:
    """Examples of the same text, numbered by the rank of the text for the held-out part."""

    def __init__(self, facts: Facts, picks: Sequence[int]) -> None:
        self.numbers = array("Q", bytes(8 * len(facts)))
        """Group of each example."""
        ranks: Ranks = facts.ranks["eval"]
        ordered = ranks.ordered(picks)
        repeats = _repeats(ranks, ordered)
        number = -1
        for index, repeated in zip(ordered, repeats, strict=True):
            number += not repeated
            self.numbers[index] = number
        self.firsts = array("Q", compress(ordered, map(not_, repeats)))
        names = [*facts.names, ""]  # the last one is that of NO_LABEL, which is -1
        self.labels = list(map(names.__getitem__, indexed(facts.labels, self.firsts)))
        for index in compress(ordered, repeats):
            group = self.numbers[index]
            self.labels[group] = min(self.labels[group], names[facts.labels[index]])

    def __len__(self) -> int:
        return len(self.firsts)


def _repeats(ranks: Ranks, ordered: Sequence[int]) -> bytearray:
    """Return for each index of ``ordered`` whether it has the text of the one before it."""
    repeats = bytearray(len(ordered))
    heads = ranks.heads()
    for at, (before, this) in enumerate(pairwise(indexed(heads, ordered)), start=1):
        if this == before:
            repeats[at] = ranks.of(ordered[at]) == ranks.of(ordered[at - 1])
    return repeats


def _require(texts: int, needed: dict[str, int]) -> None:
    """Raise ``ValueError`` if there are fewer ``texts`` than the parts need together."""
    requested = [name for name, count in needed.items() if count > 0]
    if texts >= sum(needed.values()):
        return
    if len(requested) == 1:
        raise ValueError("there is no text to train on")
    parts = ", ".join(requested[:-1]) + f" and {requested[-1]}"
    raise ValueError(
        f"{texts} distinct texts are too few to split into {parts}: "
        f"at least {sum(needed.values())} are needed"
    )


def _draw(
    groups: _Groups, ranked: Sequence[int], share: float, spare: int, count: int | None = None
) -> Iterable[int]:
    """Return about ``share`` of the ``ranked`` groups (at least one if it is positive), or
    ``count`` of them.

    At least ``spare`` remain and, if possible, one of every label.
    """
    if count is not None:
        share = count / len(ranked)
    if share <= 0:
        return ()
    by_label: dict[str, array[int]] = defaultdict(lambda: array("Q"))
    for group in ranked:
        by_label[groups.labels[group]].append(group)
    drawn = bytearray(len(groups))
    due = 0.0
    for label in sorted(by_label):
        some = by_label[label]
        due += share * len(some)
        take = min(max(round(due), 0), len(some) - 1)
        due -= take  # the rounding error is carried to the next label, so that the total is right
        for group in some[:take]:
            drawn[group] = 1
    chosen = array("Q", (group for group in ranked if drawn[group]))
    if count is not None:
        chosen.extend(group for group in ranked if not drawn[group])
        return chosen[:count]
    # If every label has a single text, none was drawn: then labels are ignored.
    if not chosen:
        chosen = array("Q", ranked[: max(round(share * len(ranked)), 1)])
    return chosen[: len(ranked) - spare]
