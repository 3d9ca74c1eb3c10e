"""Texts one word apart are those that comparing each with each finds."""

from __future__ import annotations

import random
from itertools import product

import pytest

from pipeline.data.near import Words, one_word_apart


def one_word(a: Words, b: Words) -> bool:
    """Return whether one changed, added or left-out word makes ``b`` of ``a``, tried one by one."""
    if len(a) == len(b):
        return sum(x != y for x, y in zip(a, b, strict=True)) == 1
    short, long = sorted((a, b), key=len)
    return len(long) == len(short) + 1 and any(
        long[:at] + long[at + 1 :] == short for at in range(len(long))
    )


@pytest.mark.parametrize("seed", range(6))
def test_found_are_all_that_comparing_finds(seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311 - no secret
    every = [tuple(words) for length in (4, 5, 6) for words in product("ab", repeat=length)]
    ours, theirs = draw.sample(every, 20), draw.sample(every, 20)
    right = {a for a in ours if any(one_word(a, b) for b in theirs)}
    found = one_word_apart(ours, theirs)
    assert found.keys() == right
    assert all(one_word(a, b) and b in theirs for a, b in found.items())


def test_short_texts_are_not_compared() -> None:
    assert one_word_apart([("a", "b", "c")], [("a", "b", "d")]) == {}


def test_a_text_is_not_near_itself() -> None:
    text = ("a", "b", "c", "d")
    assert one_word_apart([text], [text]) == {}
    assert one_word_apart([text], [text, ("a", "b", "c", "e")]) == {text: ("a", "b", "c", "e")}
