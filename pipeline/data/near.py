"""Finds texts that differ in one word: changed, added or left out."""

from __future__ import annotations

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
