"""Two models on the same items, and the interval of a share."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.statistics.paired import compare_paired, share_interval


def answers(both: int, won: int, lost: int, neither: int) -> tuple[list[bool], list[bool]]:
    """Return what ours and theirs have right."""
    ours = [True] * (both + won) + [False] * (lost + neither)
    theirs = [True] * both + [False] * won + [True] * lost + [False] * neither
    return ours, theirs


@pytest.mark.parametrize("table", [(36, 12, 2, 0), (0, 29, 1, 20), (53, 0, 1, 0), (7, 0, 0, 0)])
def test_interval_of_the_difference(table: tuple[int, int, int, int]) -> None:
    both, won, lost, neither = table
    found = compare_paired(*answers(*table))
    assert (found.won, found.lost, found.items) == (won, lost, sum(table))
    assert found.difference == pytest.approx((won - lost) / sum(table))
    assert -1 <= found.low < found.difference < found.high <= 1
    # Models that change places change the sign of everything.
    other = compare_paired(*answers(both, lost, won, neither))
    assert (other.low, other.high) == pytest.approx((-found.high, -found.low))
    assert other.p_value == found.p_value


def test_answers_that_go_together_make_the_interval_narrower() -> None:
    together, apart = (
        compare_paired(*answers(45, 5, 5, 45)),
        compare_paired(*answers(25, 25, 25, 25)),
    )
    assert together.high - together.low < (apart.high - apart.low) / 2
    # Without correlation it is the interval of two independent shares.
    low, high = share_interval(50, 100)
    assert apart.high == pytest.approx(((high - 0.5) ** 2 + (0.5 - low) ** 2) ** 0.5)


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [
        ((36, 12, 2, 0), 0.0569, 0.3404),  # an example of Newcombe's, whose correlation is negative
        ((1, 1, 7, 12), -0.507, -0.026),  # airway reactivity, in Fagerland et al. 2014, table IV
    ],
)
def test_published_intervals(table: tuple[int, int, int, int], low: float, high: float) -> None:
    found = compare_paired(*answers(*table))
    assert (found.low, found.high) == pytest.approx((low, high), abs=6e-4)


def test_the_interval_covers_as_often_as_it_says() -> None:
    """All 95 of 100 samples in the long run, of pairs as those of two builds of one model are."""
    random = np.random.default_rng(0)
    shares = np.array([0.86, 0.06, 0.03, 0.05])
    tables = random.multinomial(150, shares, size=2000)
    found = [compare_paired(*answers(*map(int, table))) for table in tables]
    covered = np.mean([one.low <= shares[1] - shares[2] <= one.high for one in found])
    assert 0.94 < covered < 0.98


def test_an_even_split_is_no_difference_and_an_uneven_one_is() -> None:
    assert compare_paired(*answers(80, 5, 5, 10)).p_value == 1
    # The exact two-sided binomial test of 1 in 11: 2 * (1 + 11) / 2 ** 11.
    assert compare_paired(*answers(80, 1, 10, 9)).p_value == pytest.approx(2 * 12 / 2**11)


def test_the_same_answers_leave_room_for_chance() -> None:
    found = compare_paired([True] * 7, [True] * 7)
    assert (found.p_value, found.difference) == (1, 0)
    assert found.low < 0 < found.high


def test_nothing_and_unequal_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="no items"):
        compare_paired([], [])
    with pytest.raises(ValueError, match="shorter"):
        compare_paired([True, True], [True])


def test_a_share_of_nothing_may_be_anything() -> None:
    assert share_interval(0, 0) == (0, 1)
