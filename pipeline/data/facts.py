"""What the split and the look need of each example, in a few bytes: no text is kept."""

from __future__ import annotations

import hashlib
import re
import sys
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, compress
from typing import TypeVar

from pipeline.data.examples import Example
from pipeline.data.near import halves
from pipeline.data.normal_form import normalized
from pipeline.data.pictures import PICTURE

_RANK = 16
"""Bytes of a rank that are kept: two texts that agree in them are the same."""
_CONTINUED = "".join(
    re.escape(bytes([byte]).decode("cp1252", "replace")) for byte in range(0x80, 0xC0)
).replace("\ufffd", r"\x80-\x9f")
"""The bytes that continue a character of UTF-8, as Windows-1252 or Latin-1 has them."""
_DAMAGED = re.compile(f"\ufffd|Ã[{_CONTINUED}]|Â[\xa0-\xbf]|â[\u20ac\u201a\u201e][{_CONTINUED}]")
"""What stands for a character that could not be read, and UTF-8 that was read as Windows-1252."""
NO_LABEL = -1
T = TypeVar("T")


class Ranks:
    """The order in which texts are drawn: that of a hash of seed, salt and text."""

    def __init__(self, seed: int, salt: str) -> None:
        self._before = hashlib.sha256(f"{seed}\0{salt}\0".encode())
        self._kept = bytearray()
        self._runs = array("I")
        """All indices, where they stand in runs that are in the order of their ranks: so they are
        sorted in next to no time."""

    def __len__(self) -> int:
        return len(self._kept) // _RANK

    def add(self, text: bytes) -> None:
        """Add the next text, encoded."""
        hashed = self._before.copy()
        hashed.update(text)
        self._kept += hashed.digest()[:_RANK]

    def sort(self) -> None:
        """Put the ranks so far in order, for :meth:`ordered`: each process that reads a part of a
        file does so with its own."""
        self._runs = array("I", self.ordered(range(len(self))))

    def extend(self, other: Ranks) -> None:
        """Add all ranks of ``other``, which has the same seed and salt."""
        before = len(self)
        if len(self._runs) == before and len(other._runs) == len(other):
            self._runs.extend(before + index for index in other._runs)
        self._kept += other._kept

    def of(self, index: int) -> bytes:
        """Return the rank of a text, by its index."""
        begin = index * _RANK
        return bytes(self._kept[begin : begin + _RANK])

    def ordered(self, picks: Sequence[int]) -> list[int]:
        """Return the indices ``picks`` by their ranks; of the same one, in the order given, which
        is that of the file."""
        heads = self.heads()
        if self._runs and len(self._runs) == len(self):
            picked = bytearray(len(self))
            for index in picks:
                picked[index] = 1
            picks = list(compress(self._runs, map(picked.__getitem__, self._runs)))
        ordered = sorted(picks, key=heads.__getitem__)
        begin = 0
        for at in range(1, len(ordered) + 1):
            if at < len(ordered) and heads[ordered[at]] == heads[ordered[begin]]:
                continue
            if at - begin > 1:
                ordered[begin:at] = sorted(ordered[begin:at], key=self.of)
            begin = at
        return ordered

    def heads(self) -> array[float]:
        """Return the first half of each rank as a number, in whose order ranks are, but for those
        of the same number: Python compares numbers much faster."""
        numbers = array("Q", self._kept)
        if sys.byteorder == "little":
            numbers.byteswap()
        return array("d", numbers[:: _RANK // numbers.itemsize])

    def __getstate__(self) -> tuple[bytearray, array[int]]:
        return self._kept, self._runs

    def __setstate__(self, state: tuple[bytearray, array[int]]) -> None:
        self._kept, self._runs = state


class Facts:
    """Facts of examples, by their index. Hashes are those of this process and its forks."""

    def __init__(self, seed: int = 0, salts: Iterable[str] = ()) -> None:
        self.ranks = {salt: Ranks(seed, salt) for salt in salts}
        self.texts = array("q")
        """Hash of each normalized text."""
        self.answers = array("q")
        """Hash of each text together with its answer."""
        self.names: list[str] = []
        """The labels in the order in which they occur."""
        self._numbers: dict[str, int] = {}
        self.labels = array("l")
        """Number of each label, or :data:`NO_LABEL`."""
        self.characters = array("l")
        """Length of each row; -1 for one of token ids."""
        self.halves = (array("q"), array("q"), array("q"))
        """Hashes of the halves by which texts that differ in one word are found."""
        self.pictures: dict[int, str] = {}
        """What stands for a picture, in examples that hold such."""
        self.damaged: dict[int, str] = {}
        """What stands for a damaged character, in examples that hold such."""
        self.answered = array("Q")
        """Examples whose prompt holds their own label, and none of those before them."""

    def __len__(self) -> int:
        return len(self.texts)

    def label(self, index: int) -> str | None:
        """Return the label of an example."""
        number = self.labels[index]
        return None if number == NO_LABEL else self.names[number]

    def add(self, example: Example) -> None:
        """Add the next example."""
        index = len(self.texts)
        text = normalized(example.text)
        encoded = text.encode("utf-8", "surrogatepass")
        for ranks in self.ranks.values():
            ranks.add(encoded)
        self.texts.append(hash(text))
        begin, middle, end = self.halves
        hashes = halves(text)
        begin.append(hashes[0])
        middle.append(hashes[1])
        end.append(hashes[2])
        answer, label = example.answer_words, example.label
        self.answers.append(hash((text, answer if label is None else label)))
        self.labels.append(self._label(label))
        if label is not None and example.prompt and only_label_in(text, label, self.names):
            self.answered.append(index)
        if example.tokens is not None:
            self.characters.append(-1)
            return
        shown = [turn.words for turn in example.prompt]
        self.characters.append(sum(map(len, shown)) + len(answer))
        for turn in example.prompt:
            if ("<" in turn.content or "[" in turn.content) and (
                mark := PICTURE.search("\n".join(turn.content for turn in example.prompt))
            ):
                self.pictures[index] = mark[0]
                break
        if not (answer.isascii() and all(map(str.isascii, shown))) and (
            mark := _DAMAGED.search("\n".join((*shown, answer)))
        ):
            self.damaged[index] = mark[0]

    def sort(self) -> None:
        """Put the ranks in order (see :meth:`Ranks.sort`)."""
        for ranks in self.ranks.values():
            ranks.sort()

    def extend(self, other: Facts) -> None:
        """Add all examples of ``other``."""
        before = len(self.texts)
        for salt, ranks in self.ranks.items():
            ranks.extend(other.ranks[salt])
        self.texts += other.texts
        self.answers += other.answers
        self.characters += other.characters
        for column, more in zip(self.halves, other.halves, strict=True):
            column += more
        numbers = [self._label(name) for name in other.names]
        self.labels.extend(
            NO_LABEL if label == NO_LABEL else numbers[label] for label in other.labels
        )
        # A label of what stands before them may be in their prompts as well; the look sees to it.
        self.answered.extend(before + index for index in other.answered)
        self.pictures |= {before + index: mark for index, mark in other.pictures.items()}
        self.damaged |= {before + index: mark for index, mark in other.damaged.items()}

    def _label(self, name: str | None) -> int:
        if name is None:
            return NO_LABEL
        number = self._numbers.get(name)
        if number is None:
            number = self._numbers[name] = len(self.names)
            self.names.append(name)
        return number


def only_label_in(text: str, own: str, labels: Iterable[str]) -> bool:
    """Return whether ``text``, which is normalized, holds the label ``own`` as whole words, and
    none of the other ``labels``."""
    return _holds(text, own) and not any(_holds(text, label) for label in labels if label != own)


def _holds(text: str, label: str) -> bool:
    folded, pattern = _whole_word(label)
    return pattern is not None and folded in text and pattern.search(text) is not None


@lru_cache(maxsize=4096)
def _whole_word(label: str) -> tuple[str, re.Pattern[str] | None]:
    """Return ``label`` normalized, and its pattern as whole words; ``None`` for one of signs
    only."""
    folded = normalized(label)
    if not any(sign.isalnum() for sign in folded):
        return folded, None
    return folded, re.compile(rf"(?<!\w){re.escape(folded)}(?!\w)")


def occurring_twice(*columns: tuple[Sequence[int], Sequence[int]]) -> frozenset[int]:
    """Return the numbers that occur more than once in all columns together: in each, its values at
    some indices."""
    # Few do: a table of one byte for each of many remainders finds those that may.
    rest = (1 << (8 * sum(len(picks) for _, picks in columns)).bit_length()) - 1
    table = bytearray(rest + 1)
    likely = set()
    for number in _all(columns):
        if table[number & rest]:
            likely.add(number)
        table[number & rest] = 1
    counts = Counter(filter(likely.__contains__, _all(columns)))
    return frozenset(number for number, count in counts.items() if count > 1)


def _all(columns: Iterable[tuple[Sequence[int], Sequence[int]]]) -> Iterator[int]:
    return chain.from_iterable(indexed(values, picks) for values, picks in columns)


def facts_of(examples: Iterable[Example], seed: int = 0, salts: Iterable[str] = ()) -> Facts:
    """Return the facts of ``examples``."""
    facts = Facts(seed, salts)
    for example in examples:
        facts.add(example)
    return facts


def indexed(values: Sequence[T], picks: Iterable[int]) -> Iterator[T]:
    """Yield the values at ``picks``."""
    return map(values.__getitem__, picks)
