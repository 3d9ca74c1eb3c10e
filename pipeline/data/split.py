"""Which rows are learnt from, which choose the checkpoint, which are held out."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.data.examples import Example
from pipeline.data.spec import Split


@dataclass(frozen=True)
class Parts:
    """Three lists of examples that share no text, each in the order of the file."""

    train: list[Example]
    validation: list[Example]
    eval: list[Example]


def folded(text: str) -> str:
    """Return ``text`` after NFKC, case folding and white-space folding: equal means same text."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def sample(examples: Sequence[Example], count: int | None, seed: int) -> list[Example]:
    """Return ``count`` of the examples in their order, chosen by ``seed``; all if ``None``."""
    if count is None or count >= len(examples):
        return list(examples)
    ranked = sorted(
        examples, key=lambda item: (_rank(seed, "sample", folded(item.text)), item.line)
    )
    kept = {id(item) for item in ranked[:count]}
    return [item for item in examples if id(item) in kept]


def split(examples: Sequence[Example], spec: Split) -> Parts:
    """Divide ``examples`` by distinct text; every label gets its share of each part.

    Within a label the texts are ordered by a hash of seed and text and cut at the shares, so the
    assignment depends on neither the order of the file nor the platform, and another row moves at
    most a text or two. A label's last text stays in training. Raises ``ValueError`` where there are
    too few distinct texts for every part asked for.
    """
    groups: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        groups[folded(example.text)].append(example)
    needed = 3 if spec.validation > 0 else 2
    if len(groups) < needed:
        parts = "train, validation and eval" if needed == 3 else "train and eval"
        raise ValueError(
            f"{len(groups)} distinct texts are too few to split into {parts}: "
            f"at least {needed} are needed"
        )
    strata = {text: min(item.label or "" for item in items) for text, items in groups.items()}
    held = _draw(strata, spec.eval, spec.seed, "eval", spare=needed - 1)
    rest = {text: label for text, label in strata.items() if text not in held}
    chosen = _draw(rest, spec.validation, spec.seed, "validation", spare=1)
    parts_of = {text: 2 if text in held else 1 if text in chosen else 0 for text in groups}
    lists: tuple[list[Example], list[Example], list[Example]] = ([], [], [])
    for example in examples:
        lists[parts_of[folded(example.text)]].append(example)
    return Parts(*lists)


def _draw(strata: dict[str, str], share: float, seed: int, salt: str, spare: int) -> set[str]:
    """Return about ``share`` of the texts (at least one where it is positive), leaving ``spare``
    and, where that can be, one of every label."""
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
        due -= take  # what rounding left goes to the next label, so that the whole share is right
        drawn.update(texts[:take])
    most = len(ranked) - spare
    # Where every label has a single text, none was drawn: then labels are not looked at.
    count = max(round(share * len(ranked)), 1)
    wanted = [text for text in ranked if text in drawn] or ranked[:count]
    return set(wanted[:most])


def _rank(seed: int, salt: str, text: str) -> bytes:
    return hashlib.sha256(f"{seed}\0{salt}\0{text}".encode()).digest()
