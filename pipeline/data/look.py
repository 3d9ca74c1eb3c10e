"""Looks at the rows of a data set: what a person should know of them before training."""

from __future__ import annotations

import sys
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from pipeline.data.examples import Example
from pipeline.data.facts import (
    NO_LABEL,
    Facts,
    facts_of,
    indexed,
    occurring_twice,
    only_label_in,
)
from pipeline.data.findings import Finding, Lengths, Look
from pipeline.data.near import Words, one_word_apart, sharing_a_half
from pipeline.data.normal_form import normalized
from pipeline.data.parts import StoredExamples
from pipeline.data.problems import NAMED, named
from pipeline.data.row_store import Picked
from pipeline.data.split import Parts
from pipeline.statistics.percentiles import percentile

PARTS = ("training", "validation", "held-out")


def lengths_of(parts: Mapping[str, Sequence[int]]) -> dict[str, Lengths]:
    """Return the percentiles of the lengths of each part that has any."""
    return {name: _lengths(sorted(lengths)) for name, lengths in parts.items() if lengths}


def _lengths(ordered: Sequence[int]) -> Lengths:
    return Lengths(
        rows=len(ordered),
        p50=int(percentile(ordered, 0.5)),
        p90=int(percentile(ordered, 0.9)),
        p99=int(percentile(ordered, 0.99)),
        longest=ordered[-1],
    )


@dataclass(frozen=True)
class _Part:
    """A part, with the facts of the data set that it belongs to."""

    examples: Sequence[Example]
    facts: Facts
    picks: Sequence[int]
    """The indices of its examples in the data set."""

    def halves(self) -> list[Iterator[int]]:
        return [indexed(column, self.picks) for column in self.facts.halves]

    def places(self, positions: Iterable[int]) -> Iterator[str]:
        return (self.examples[position].place for position in positions)


def look(parts: Parts) -> Look:
    """Look at all rows of ``parts``. Takes time in proportion to their number, and reads again only
    rows that are named."""
    by_part = dict(zip(PARTS, map(_part, (parts.train, parts.validation, parts.eval)), strict=True))
    if parts.validation is parts.eval:
        del by_part["validation"]
    seen = tuple(by_part.values())
    trained, held_out = by_part["training"], by_part["held-out"]
    labels: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(by_part, 0))
    for name, part in by_part.items():
        counts = Counter(indexed(part.facts.labels, part.picks))
        for number, count in counts.items():
            if number != NO_LABEL:
                labels[part.facts.names[number]][name] = count
    rules = (
        _swallowed(parts),
        _repeated(seen),
        _contradictions(seen),
        _leaked(trained, held_out),
        _near(trained, held_out),
        _alike(labels),
        _answered(seen, labels),
        _pictures(seen),
        _damaged(seen),
    )
    return Look(
        rows={name: len(part.picks) for name, part in by_part.items()},
        labels={label: dict(labels[label]) for label in sorted(labels)},
        characters=lengths_of({name: _characters(part) for name, part in by_part.items()}),
        findings=tuple(finding for rule in rules for finding in rule),
        notes=parts.notes,
    )


def _part(examples: Sequence[Example]) -> _Part:
    if isinstance(examples, Picked) and isinstance(examples.items, StoredExamples):
        return _Part(examples, examples.items.facts, examples.picks)
    return _Part(examples, facts_of(examples), range(len(examples)))


def _characters(part: _Part) -> Sequence[int]:
    lengths = array("l", indexed(part.facts.characters, part.picks))
    return [] if len(lengths) and lengths[0] < 0 else lengths


def _found(
    places: Iterable[str], count: int, one: str, several: str, warns: bool = True
) -> Iterator[Finding]:
    if count:
        said = one if count == 1 else several
        listed = named(list(islice(places, NAMED)), count)
        yield Finding(message=f"{said}: {listed}", count=count, warns=warns)


def _in_all(parts: Iterable[_Part], found: Callable[[Facts, int], bool]) -> list[tuple[_Part, int]]:
    """Return the examples for whose facts ``found`` says so: part and position in it."""
    return [
        (part, position)
        for part in parts
        for position, index in enumerate(part.picks)
        if found(part.facts, index)
    ]


def _swallowed(parts: Parts) -> Iterator[Finding]:
    yield from _found(
        parts.swallowed,
        len(parts.swallowed),
        "row has a cell that looks like several rows, as if a quotation mark were part of a text",
        "rows have a cell that looks like several rows, as if a quotation mark were part of a text",
    )


def _repeated(parts: Sequence[_Part]) -> Iterator[Finding]:
    several = occurring_twice(*((part.facts.answers, part.picks) for part in parts))
    seen: set[int] = set()
    found = []
    if not several:
        return
    for part, position in _in_all(parts, lambda facts, index: facts.answers[index] in several):
        answer = part.facts.answers[part.picks[position]]
        if answer in seen:
            found.append(part.examples[position])
        seen.add(answer)
    places = (example.place for example in found)
    yield from _found(places, len(found), "row repeats another", "rows repeat others", warns=False)


def _contradictions(parts: Sequence[_Part]) -> Iterator[Finding]:
    """Find rows with the same text that have several labels; without labels, several answers may
    be right."""
    twice = occurring_twice(*((part.facts.texts, part.picks) for part in parts))
    if not twice:
        return
    repeated = _in_all(parts, lambda facts, index: facts.texts[index] in twice)
    answers: dict[int, set[int]] = defaultdict(set)
    for part, position in repeated:
        index = part.picks[position]
        answers[part.facts.texts[index]].add(part.facts.answers[index])
    several = [
        part.examples[position]
        for part, position in repeated
        if len(answers[part.facts.texts[part.picks[position]]]) > 1
    ]
    several.sort(key=lambda example: normalized(example.text))
    labels = [f"{item.place} ({item.label})" for item in several if item.label is not None]
    others = [item.place for item in several if item.label is None]
    said = "rows have the text of another row with another"
    yield from _found(labels, len(labels), f"{said} label", f"{said} label")
    yield from _found(others, len(others), f"{said} answer", f"{said} answer", warns=False)


def _leaked(trained: _Part, held_out: _Part) -> Iterator[Finding]:
    texts = set(indexed(held_out.facts.texts, held_out.picks))
    texts &= set(filter(texts.__contains__, indexed(trained.facts.texts, trained.picks)))
    found = _in_all([held_out], lambda facts, index: facts.texts[index] in texts) if texts else []
    several = f"of {len(held_out.picks)} held-out rows are trained on too"
    places = held_out.places(position for _, position in found)
    yield from _found(places, len(found), several, several)


def _near(trained: _Part, held_out: _Part) -> Iterator[Finding]:
    def words(example: Example) -> Words:
        # The same word of many texts is kept once.
        return tuple(map(sys.intern, normalized(example.text).split()))

    theirs, ours = sharing_a_half(
        *(
            [indexed(column, part.picks) for column in part.facts.halves]
            for part in (trained, held_out)
        )
    )
    others = {words(example): example for example in (trained.examples[at] for at in theirs)}
    asked = [held_out.examples[at] for at in ours]
    pairs = one_word_apart(map(words, asked), others)
    places = [
        f"{example.place} and {others[near].place}"
        for example in asked
        if (near := pairs.get(words(example)))
    ]
    count = len(held_out.picks)
    yield from _found(
        places,
        len(places),
        f"of {count} held-out rows differs from a training row in one word",
        f"of {count} held-out rows differ from a training row in one word",
    )


def _alike(labels: Iterable[str]) -> Iterator[Finding]:
    """Find labels that may be one and the same: ``Joy`` and ``joy``, ``1`` and ``1.0``."""
    alike: dict[object, list[str]] = defaultdict(list)
    for label in labels:
        try:
            alike[float(label)].append(label)
        except ValueError:
            alike[normalized(label)].append(label)
    pairs = [" and ".join(map(repr, sorted(some))) for some in alike.values() if len(some) > 1]
    said = "differ only in case or in how they are written, and count as others"
    yield from _found(pairs, len(pairs), f"group of labels {said}", f"groups of labels {said}")


def _answered(parts: Sequence[_Part], labels: Mapping[str, object]) -> Iterator[Finding]:
    found = []
    for part in parts:
        likely = frozenset(part.facts.answered)
        for position, index in enumerate(part.picks) if likely else ():
            if index not in likely:
                continue
            example = part.examples[position]
            # Some hold a label that only occurs after them.
            if only_label_in(normalized(example.text), example.label or "", labels):
                found.append(f"{example.place} ({example.label})")
    count = sum(len(part.picks) for part in parts)
    yield from _found(
        found,
        len(found),
        f"of {count} rows has its label, and no other, in its own prompt",
        f"of {count} rows have their label, and no other, in their own prompt",
    )


def _pictures(parts: Sequence[_Part]) -> Iterator[Finding]:
    yield from _marked(
        parts,
        lambda facts: facts.pictures,
        "row holds what stands for a picture, which the model does not see",
        "rows hold what stands for a picture, which the model does not see",
    )


def _damaged(parts: Sequence[_Part]) -> Iterator[Finding]:
    """Find texts that were read in a wrong encoding before they were saved."""
    said = "what is left of a character that was read in a wrong encoding"
    yield from _marked(parts, lambda facts: facts.damaged, f"row holds {said}", f"rows hold {said}")


def _marked(
    parts: Sequence[_Part], marks: Callable[[Facts], Mapping[int, str]], one: str, several: str
) -> Iterator[Finding]:
    found = _in_all(
        (part for part in parts if marks(part.facts)), lambda facts, index: index in marks(facts)
    )
    places = (
        f"{part.examples[position].place} ({marks(part.facts)[part.picks[position]]})"
        for part, position in found
    )
    yield from _found(places, len(found), one, several)
