"""Looks at the rows of a data set: what a person should know of them before training."""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from pipeline.contract.frozen import Frozen
from pipeline.data.examples import Example
from pipeline.data.near import Words, one_word_apart
from pipeline.data.pictures import PICTURE
from pipeline.data.problems import named
from pipeline.data.split import Parts, normalized
from pipeline.statistics.percentiles import percentile

_CONTINUED = "".join(
    re.escape(bytes([byte]).decode("cp1252", "replace")) for byte in range(0x80, 0xC0)
).replace("\ufffd", r"\x80-\x9f")
"""The bytes that continue a character of UTF-8, as Windows-1252 or Latin-1 has them."""
_DAMAGED = re.compile(f"\ufffd|Ã[{_CONTINUED}]|Â[\xa0-\xbf]|â[\u20ac\u201a\u201e][{_CONTINUED}]")
"""What stands for a character that could not be read, and UTF-8 that was read as Windows-1252."""
PARTS = ("training", "validation", "held-out")


class Finding(Frozen):
    """Rows that may not be what was meant."""

    message: str
    count: int
    warns: bool = True
    """Whether it should be looked at; otherwise it is a figure."""

    def __str__(self) -> str:
        return f"{self.count} {self.message}"


class Lengths(Frozen):
    """Lengths of rows, prompt and answer: percentiles, and the longest."""

    rows: int
    p50: int
    p90: int
    p99: int
    longest: int


def lengths_of(parts: Mapping[str, Sequence[int]]) -> dict[str, Lengths]:
    """Return the percentiles of the lengths of each part that has any."""
    return {
        name: Lengths(
            rows=len(lengths),
            p50=int(percentile(lengths, 0.5)),
            p90=int(percentile(lengths, 0.9)),
            p99=int(percentile(lengths, 0.99)),
            longest=max(lengths),
        )
        for name, lengths in parts.items()
        if lengths
    }


class Look(Frozen):
    """What one sees in a data set."""

    rows: dict[str, int]
    """Number of rows per part."""
    labels: dict[str, dict[str, int]]
    """Number of rows per label and part; empty if there are no labels."""
    characters: dict[str, Lengths]
    """Lengths per part in characters, which need no tokenizer; empty for rows of token ids."""
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    """How files were read."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return the findings that should be looked at, in words."""
        return tuple(str(finding) for finding in self.findings if finding.warns)


def look(parts: Parts) -> Look:
    """Look at all rows of ``parts``. Takes time in proportion to their number."""
    by_part = dict(zip(PARTS, (parts.train, parts.validation, parts.eval), strict=True))
    if parts.validation is parts.eval:
        del by_part["validation"]
    examples = [example for part in by_part.values() for example in part]
    texts = {id(example): normalized(example.text) for example in examples}
    labels: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(by_part, 0))
    for name, part in by_part.items():
        for example in part:
            if example.label is not None:
                labels[example.label][name] += 1
    rules = (
        _swallowed(parts),
        _repeated(examples, texts),
        _contradictions(examples, texts),
        _leaked(parts, texts),
        _near(parts, texts),
        _alike(labels),
        _answered(examples, texts),
        _pictures(examples),
        _damaged(examples),
    )
    return Look(
        rows={name: len(part) for name, part in by_part.items()},
        labels={label: dict(labels[label]) for label in sorted(labels)},
        characters=lengths_of({name: list(_characters(part)) for name, part in by_part.items()}),
        findings=tuple(finding for rule in rules for finding in rule),
        notes=parts.notes,
    )


def _characters(examples: Iterable[Example]) -> Iterator[int]:
    for example in examples:
        if example.tokens is None:
            yield sum(len(turn.words) for turn in (*example.prompt, example.answer))


def _found(places: Sequence[str], one: str, several: str, warns: bool = True) -> Iterator[Finding]:
    if places:
        said = one if len(places) == 1 else several
        yield Finding(message=f"{said}: {named(places)}", count=len(places), warns=warns)


def _swallowed(parts: Parts) -> Iterator[Finding]:
    yield from _found(
        parts.swallowed,
        "row has a cell that looks like several rows, as if a quotation mark were part of a text",
        "rows have a cell that looks like several rows, as if a quotation mark were part of a text",
    )


def _repeated(examples: Sequence[Example], texts: dict[int, str]) -> Iterator[Finding]:
    seen: set[tuple[str, str]] = set()
    places = []
    for example in examples:
        row = texts[id(example)], _answer(example)
        if row in seen:
            places.append(example.place)
        seen.add(row)
    yield from _found(places, "row repeats another", "rows repeat others", warns=False)


def _contradictions(examples: Sequence[Example], texts: dict[int, str]) -> Iterator[Finding]:
    """Find rows with the same text that have several labels; without labels, several answers may
    be right."""
    answers: dict[str, set[str]] = defaultdict(set)
    for example in examples:
        answers[texts[id(example)]].add(_answer(example))
    several = [example for example in examples if len(answers[texts[id(example)]]) > 1]
    several.sort(key=lambda example: texts[id(example)])
    labels = [f"{item.place} ({item.label})" for item in several if item.label is not None]
    others = [item.place for item in several if item.label is None]
    said = "rows have the text of another row with another"
    yield from _found(labels, f"{said} label", f"{said} label")
    yield from _found(others, f"{said} answer", f"{said} answer", warns=False)


def _answer(example: Example) -> str:
    if example.label is not None:
        return example.label
    return str(example.tokens.ids) if example.tokens is not None else example.answer.words


def _leaked(parts: Parts, texts: dict[int, str]) -> Iterator[Finding]:
    trained = {texts[id(example)] for example in parts.train}
    places = [example.place for example in parts.eval if texts[id(example)] in trained]
    several = f"of {len(parts.eval)} held-out rows are trained on too"
    yield from _found(places, several, several)


def _near(parts: Parts, texts: dict[int, str]) -> Iterator[Finding]:
    def words(example: Example) -> Words:
        # The same word of many texts is kept once.
        return tuple(map(sys.intern, texts[id(example)].split()))

    trained = {words(example): example for example in parts.train}
    pairs = one_word_apart(map(words, parts.eval), trained)
    places = [
        f"{example.place} and {trained[near].place}"
        for example in parts.eval
        if (near := pairs.get(words(example)))
    ]
    yield from _found(
        places,
        f"of {len(parts.eval)} held-out rows differs from a training row in one word",
        f"of {len(parts.eval)} held-out rows differ from a training row in one word",
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
    yield from _found(pairs, f"group of labels {said}", f"groups of labels {said}")


def _answered(examples: Sequence[Example], texts: dict[int, str]) -> Iterator[Finding]:
    labels = {example.label for example in examples}
    patterns = {label: _whole_word(label or "") for label in labels}

    def only_own(example: Example) -> bool:
        # A prompt that lists all labels names the right one too.
        text = texts[id(example)]
        return _holds(patterns[example.label], text) and not any(
            _holds(pattern, text) for label, pattern in patterns.items() if label != example.label
        )

    places = [
        f"{example.place} ({example.label})"
        for example in examples
        if example.prompt and only_own(example)
    ]
    yield from _found(
        places,
        f"of {len(examples)} rows has its label, and no other, in its own prompt",
        f"of {len(examples)} rows have their label, and no other, in their own prompt",
    )


def _pictures(examples: Sequence[Example]) -> Iterator[Finding]:
    places = [
        f"{example.place} ({mark[0]})"
        for example in examples
        if (mark := PICTURE.search("\n".join(turn.content for turn in example.prompt)))
    ]
    yield from _found(
        places,
        "row holds what stands for a picture, which the model does not see",
        "rows hold what stands for a picture, which the model does not see",
    )


def _damaged(examples: Sequence[Example]) -> Iterator[Finding]:
    """Find texts that were read in a wrong encoding before they were saved."""
    places = [
        f"{example.place} ({mark[0]})"
        for example in examples
        if (mark := _DAMAGED.search("\n".join(t.words for t in (*example.prompt, example.answer))))
    ]
    said = "what is left of a character that was read in a wrong encoding"
    yield from _found(places, f"row holds {said}", f"rows hold {said}")


def _whole_word(label: str) -> re.Pattern[str] | None:
    """Return the pattern of ``label`` as whole words; ``None`` for one of signs only."""
    folded = normalized(label)
    if not any(sign.isalnum() for sign in folded):
        return None
    return re.compile(rf"(?<!\w){re.escape(folded)}(?!\w)")


def _holds(pattern: re.Pattern[str] | None, text: str) -> bool:
    return pattern is not None and pattern.search(text) is not None
