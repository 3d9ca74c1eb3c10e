"""Finds texts that differ in one word: changed, added or left out."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

Words = tuple[str, ...]

_FEWEST = 4
"""Words of the shortest text that is compared: of two words, one is half."""


def one_word_apart(texts: Iterable[Words], others: Iterable[Words]) -> dict[Words, Words]:
    """Return one of ``others`` for each of ``texts`` that differs from it in one word.

    Exact, and without comparing each with each: of two such texts, the half without that word is
    the same. So texts are grouped by one half, and those of a group looked at in the other half.
    """
    found: dict[Words, Words] = {}
    ours, theirs = _by_length(texts), _by_length(others)
    for length, some in ours.items():
        for other in (length - 1, length, length + 1):
            if other in theirs:
                _search(some, theirs[other], _Window(0, length), _Window(0, other), found)
    return found


def halves(text: str) -> tuple[int, int, int]:
    """Return hashes of the halves of ``text``, a normalized one, by which :func:`one_word_apart`
    groups texts at first: with texts that differ from it in one word, it has one of them in common.
    All are 0 for a text that is not compared."""
    count = text.count(" ") + 1
    if count < _FEWEST:
        return 0, 0, 0
    half = count // 2
    words = text.split(" ", half)
    end = words[half]
    size = len(text) - len(end) - 1
    begin = text[:size]
    if count % 2:  # against texts with a word more, its first half has one more word
        return hash(begin), hash(text[: size + 1 + end.index(" ")]), hash(end)
    return hash(begin), hash(end), hash(text[size - len(words[half - 1]) :])


def sharing_a_half(
    theirs: Sequence[Iterable[int]], ours: Sequence[Iterable[int]]
) -> tuple[list[int], list[int]]:
    """Return the positions in ``theirs`` and ``ours`` of texts of which one of the others has a
    half in common, by the columns of their :func:`halves`."""
    their_columns = [array("q", column) for column in theirs]
    our_columns = [array("q", column) for column in ours]
    # Few have: a table of one byte for each of many remainders finds those that may.
    size = 1 << max(10, (64 * len(our_columns[0])).bit_length())
    mine, rest = bytearray(size), size - 1
    for column in our_columns:
        for half in column:
            mine[half & rest] = 1
    mine[0] = 0
    likely = {at for column in their_columns for at, half in enumerate(column) if mine[half & rest]}
    halves_of_theirs = {column[at] for column in their_columns for at in likely} - {0}
    found = [
        at
        for at, some in enumerate(zip(*our_columns, strict=True))
        if not halves_of_theirs.isdisjoint(some)
    ]
    halves_of_ours = {column[at] for column in our_columns for at in found} - {0}
    others = [
        at for at in sorted(likely) if any(column[at] in halves_of_ours for column in their_columns)
    ]
    return others, found


class _Window(NamedTuple):
    """The part of texts that is not known to be the same."""

    begin: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.begin

    def without(self, count: int, at_end: bool) -> _Window:
        if at_end:
            return _Window(self.begin, self.end - count)
        return _Window(self.begin + count, self.end)


def _search(
    texts: Sequence[Words],
    others: Sequence[Words],
    ours: _Window,
    theirs: _Window,
    found: dict[Words, Words],
) -> None:
    """Add pairs that differ in one word of the windows to ``found``; all else is the same."""
    shorter = min(ours.size, theirs.size)
    if shorter == 0 or ours.size == theirs.size == 1:
        for text in texts:
            # One of two different ones is not the text itself.
            other = next((one for one in others[:2] if one != text), None)
            if other is not None:
                found.setdefault(text, other)
        return
    same_size = ours.size == theirs.size
    first = shorter // 2 if same_size else (shorter + 1) // 2
    last = shorter - first if same_size else shorter - first + 1
    for size, at_end in ((first, False), (last, True)):
        our_rest, their_rest = ours.without(size, at_end), theirs.without(size, at_end)
        groups = _grouped(others, theirs, size, at_end)
        for half, some in _grouped(texts, ours, size, at_end).items():
            if half in groups:
                _search(some, groups[half], our_rest, their_rest, found)


def _grouped(
    texts: Iterable[Words], window: _Window, size: int, at_end: bool
) -> Mapping[Words, list[Words]]:
    """Group ``texts`` by the ``size`` words at the beginning or the end of the window."""
    begin = window.end - size if at_end else window.begin
    groups: dict[Words, list[Words]] = defaultdict(list)
    for text in texts:
        groups[text[begin : begin + size]].append(text)
    return groups


def _by_length(texts: Iterable[Words]) -> dict[int, list[Words]]:
    lengths: dict[int, list[Words]] = defaultdict(list)
    for text in dict.fromkeys(texts):
        if len(text) >= _FEWEST:
            lengths[len(text)].append(text)
    return lengths
