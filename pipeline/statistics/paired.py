"""Compares the shares of right answers of two models that were asked the same questions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Paired:
    """The comparison of two models, ours and theirs, on the same items."""

    items: int
    won: int
    """Number of items that ours has right and theirs has wrong."""
    lost: int
    p_value: float
    """Of the two-sided exact McNemar test: the binomial test of ``lost`` in ``won + lost`` items
    with probability 1/2; 1 if there are no such items. It is the probability of a split at least as
    uneven if both models are equally good."""
    low: float
    """Lower end of the 95 % interval of :attr:`difference`."""
    high: float

    @property
    def difference(self) -> float:
        """Return our share of right answers minus theirs."""
        return (self.won - self.lost) / self.items


def share_interval(right: int, items: int) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of ``right / items``; (0, 1) if there are no items."""
    from scipy.stats import binomtest

    if items == 0:
        return 0.0, 1.0
    interval = binomtest(right, items).proportion_ci(_CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def compare_paired(ours: Sequence[bool], theirs: Sequence[bool]) -> Paired:
    """Compare which items two models have right.

    With the shares ``p1`` of ours and ``p2`` of theirs, their Wilson intervals ``(l1, u1)`` and
    ``(l2, u2)`` and the correlation ``phi`` of the two-by-two table, the interval of ``p1 - p2``
    ends at ::

        p1 - p2 - sqrt((p1 - l1)^2 - 2 phi (p1 - l1) (u2 - p2) + (u2 - p2)^2)
        p1 - p2 + sqrt((u1 - p1)^2 - 2 phi (u1 - p1) (p2 - l2) + (p2 - l2)^2)

    This is Newcombe's method 10, the square-and-add interval for paired proportions (Statistics in
    Medicine 17, 1998, 2635-2650), with his continuity correction of ``phi``: of its numerator, the
    difference of the products of the table's diagonals, a positive value is lowered by half the
    number of items, at most to 0.

    Raises ``ValueError`` if there are no items, or the two lengths differ.
    """
    from scipy.stats import binomtest

    pairs = list(zip(ours, theirs, strict=True))
    if not pairs:
        raise ValueError("no items to compare on")
    both = sum(a and b for a, b in pairs)
    won = sum(a and not b for a, b in pairs)
    lost = sum(b and not a for a, b in pairs)
    items = len(pairs)
    neither = items - both - won - lost
    p_value = float(binomtest(lost, won + lost).pvalue) if won + lost else 1.0
    share, other = (both + won) / items, (both + lost) / items
    low, high = share_interval(both + won, items)
    other_low, other_high = share_interval(both + lost, items)
    margins = (both + won) * (lost + neither) * (both + lost) * (won + neither)
    covariance: float = both * neither - won * lost
    if covariance > 0:
        covariance = max(covariance - items / 2, 0)
    correlation = covariance / math.sqrt(margins) if margins else 0.0
    below = _joined(share - low, other_high - other, correlation)
    above = _joined(high - share, other - other_low, correlation)
    difference = share - other
    return Paired(items, won, lost, p_value, difference - below, difference + above)


def _joined(one: float, other: float, correlation: float) -> float:
    """Return the distance of a bound of the difference, from those of the bounds of both shares."""
    return math.sqrt(max(one * one - 2 * correlation * one * other + other * other, 0.0))
