"""Splits examples into a training, a validation and a held-out part."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.contract.data_spec import Split
from pipeline.data.examples import Example

_UNSEEN = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
"""Soft hyphens, characters without width, and marks of direction."""


@dataclass(frozen=True)
class Parts:
    """The three parts, each in the order of the file. Parts of one split have no text in common,
    unless the validation part is the held-out part."""

    train: list[Example]
    validation: list[Example]
    eval: list[Example]
    notes: tuple[str, ...] = ()
    """How files were read."""
    swallowed: tuple[str, ...] = ()
    """Places of rows with a cell that looks like several rows."""

    @property
    def held_out_or_train(self) -> list[Example]:
        """Return the held-out part, or the training part if nothing is held out: prompts for
        purposes other than scoring."""
        return self.eval or self.train


def as_seen(text: str) -> str:
    """Return ``text`` after NFC and white-space folding, and without characters that nobody sees:
    the same for all texts that look the same."""
    seen = text if text.isascii() else unicodedata.normalize("NFC", _UNSEEN.sub("", text))
    return " ".join(seen.split())


def normalized(text: str) -> str:
    """Return ``text`` after NFKC, case folding and white-space folding, and without characters that
    nobody sees, by which texts are compared."""
    seen = text if text.isascii() else _UNSEEN.sub("", text)
    return " ".join(unicodedata.normalize("NFKC", seen).casefold().split())


def sample(examples: Sequence[Example], count: int | None, seed: int) -> list[Example]:
    """Return ``count`` examples in their order, chosen at random by ``seed``; all if ``None``."""
    if count is None or count >= len(examples):
        return list(examples)
    ranked = sorted(
        examples,
        key=lambda item: (_rank(seed, "sample", normalized(item.text)), item.file, item.line),
    )
    chosen = {id(item) for item in ranked[:count]}
    return [item for item in examples if id(item) in chosen]


def split(examples: Sequence[Example], spec: Split) -> Parts:
    """Divide ``examples`` by distinct text; every label gets its share of each part.

    Within a label the texts are ordered by a hash of seed and text and cut at the shares. So the
    assignment depends on neither the order of the file nor the platform, and an additional row
    moves at most a text or two. At least one text of each label stays in the training part. Raises
    ``ValueError`` if there are too few distinct texts for all parts.
    """
    if spec.eval == 1 and spec.eval_count is None:
        return Parts([], list(examples) if spec.validation == "eval" else [], list(examples))
    groups: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        groups[normalized(example.text)].append(example)
    share = 0.0 if spec.validation == "eval" else spec.validation
    held_out = spec.eval_count if spec.eval_count is not None else int(spec.eval > 0)
    _require(len(groups), {"train": 1, "validation": int(share > 0), "eval": held_out})
    strata = {text: min(item.label or "" for item in items) for text, items in groups.items()}
    spare = 1 + int(share > 0)
    eval_texts = _draw(strata, spec.eval, spec.seed, "eval", spare, spec.eval_count)
    remaining = {text: label for text, label in strata.items() if text not in eval_texts}
    chosen = _draw(remaining, share, spec.seed, "validation", spare=1)
    parts_of = {text: 2 if text in eval_texts else 1 if text in chosen else 0 for text in groups}
    lists: tuple[list[Example], list[Example], list[Example]] = ([], [], [])
    for example in examples:
        lists[parts_of[normalized(example.text)]].append(example)
    train, validation, held_rows = lists
    return Parts(train, held_rows if spec.validation == "eval" else validation, held_rows)


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
    strata: dict[str, str], share: float, seed: int, salt: str, spare: int, count: int | None = None
) -> set[str]:
    """Return about ``share`` of the texts (at least one if it is positive), or ``count`` of them.

    At least ``spare`` texts remain and, if possible, one of every label.
    """
    if count is not None:
        share = count / len(strata)
    if share <= 0:
        return set()
    ranked = sorted(strata, key=lambda text: _rank(seed, salt, text))
    by_label: dict[str, list[str]] = defaultdict(list)
    for text in ranked:
        by_label[strata[text]].append(text)
    drawn: set[str] = set()
    due = 0.0
    for label in sorted(by_label):
        texts = by_label[label]
        due += share * len(texts)
        take = min(max(round(due), 0), len(texts) - 1)
        due -= take  # the rounding error is carried to the next label, so that the total is right
        drawn.update(texts[:take])
    chosen = [text for text in ranked if text in drawn]
    if count is not None:
        chosen += [text for text in ranked if text not in drawn]
        return set(chosen[:count])
    # If every label has a single text, none was drawn: then labels are ignored.
    chosen = chosen or ranked[: max(round(share * len(ranked)), 1)]
    return set(chosen[: len(ranked) - spare])


def _rank(seed: int, salt: str, text: str) -> bytes:
    return hashlib.sha256(f"{seed}\0{salt}\0{text}".encode()).digest()
