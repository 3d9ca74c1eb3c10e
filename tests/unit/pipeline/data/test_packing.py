"""Rows are packed as first-fit decreasing packs them."""

from __future__ import annotations

import random

import pytest

from pipeline.data.packing import pack


def first_fit(lengths: list[int], max_length: int) -> list[list[int]]:
    """Return the bins, looking at each of them for each row."""
    bins: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        for some in bins:
            if sum(lengths[one] for one in some) + lengths[row] <= max_length:
                some.append(row)
                break
        else:
            bins.append([row])
    return bins


@pytest.mark.parametrize("seed", range(20))
def test_every_row_is_in_the_first_bin_with_room(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - test data
    longest = chance.choice([8, 20, 64])
    lengths = [chance.randint(1, longest) for _ in range(chance.randint(0, 200))]
    assert [list(some) for some in pack(lengths, longest)] == first_fit(lengths, longest)


def test_a_longer_row_is_alone() -> None:
    assert [list(some) for some in pack([9, 3, 12, 5], 8)] == [[2], [0], [3, 1]]


def test_no_row_and_one() -> None:
    assert pack([], 8) == []
    assert [list(some) for some in pack([3], 8)] == [[0]]
