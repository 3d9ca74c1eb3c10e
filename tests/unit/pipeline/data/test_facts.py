"""Orders and repetitions of many rows are those that sorting and counting find."""

from __future__ import annotations

import random
from array import array
from collections import Counter
from collections.abc import Iterable

import pytest

from pipeline.data.facts import Ranks, occurring_twice


def test_ranks_that_begin_alike_are_in_their_order() -> None:
    chance = random.Random(1)  # noqa: S311
    heads = [chance.randbytes(8) for _ in range(20)]
    kept = [chance.choice(heads) + bytes(7) + bytes([chance.randrange(3)]) for _ in range(500)]
    # These two are the same number in floating point.
    kept += [b"\xff" * 7 + bytes([last]) + bytes(8) for last in (9, 8)]
    ranks = ranks_of(kept)
    picks = [*chance.sample(range(500), 400), 500, 501]
    assert ranks.ordered(picks) == sorted(picks, key=kept.__getitem__)


@pytest.mark.parametrize("unsorted", [None, 0, 1])
def test_parts_that_were_sorted_before_they_were_joined_are_in_the_same_order(
    unsorted: int | None,
) -> None:
    chance = random.Random(2)  # noqa: S311
    heads = [chance.randbytes(8) for _ in range(40)]
    kept = [chance.choice(heads) + bytes(8) for _ in range(300)]
    joined = Ranks(0, "eval")
    for number, part in enumerate((kept[:130], kept[130:131], kept[131:])):
        ranks = ranks_of(part)
        if number != unsorted:
            ranks.sort()
        joined.extend(ranks)
    picks = sorted(chance.sample(range(300), 250))
    assert joined.ordered(picks) == sorted(picks, key=kept.__getitem__)
    joined.add(b"one more")
    every = range(301)
    assert joined.ordered(every) == sorted(every, key=[*kept, joined.of(300)].__getitem__)


def ranks_of(kept: Iterable[bytes]) -> Ranks:
    ranks = Ranks(0, "eval")
    ranks.__setstate__((bytearray(b"".join(kept)), array("I")))
    return ranks


def test_numbers_that_occur_twice_are_found_among_those_that_share_a_remainder() -> None:
    chance = random.Random(1)  # noqa: S311
    numbers = [chance.choice((-1, 1)) * (at << 20) for at in range(300)]
    columns = [array("q", (chance.choice(numbers) for _ in range(100))) for _ in range(3)]
    picks = [chance.sample(range(100), 60) for _ in columns]
    counts = Counter(column[at] for column, some in zip(columns, picks, strict=True) for at in some)
    assert occurring_twice(*zip(columns, picks, strict=True)) == {
        number for number, count in counts.items() if count > 1
    }
