"""Shares of right answers and the difference between two models asked the same questions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Paired:
    """Two models on the same items: ours against theirs."""

    items: int
    won: int
    """Items that ours has right and theirs has wrong."""
    lost: int
    p_value: float
    """Of the exact McNemar test, two-sided: how likely so uneven a split of the items on which they
    differ is if both are equally good."""
    low: float
    """Lower end of the 95 % interval of our share of right answers less theirs."""
    high: float

    @property
    def difference(self) -> float:
        """Return our share of right answers less theirs."""
        return (self.won - self.lost) / self.items


def share_interval(right: int, items: int) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of a share; all of 0 to 1 where there are no items."""
    from scipy.stats import binomtest

    if items == 0:
        return 0.0, 1.0
    interval = binomtest(right, items).proportion_ci(_CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def paired(ours: Sequence[bool], theirs: Sequence[bool]) -> Paired:
    """Compare what two models have right, item by item.

    The interval is Newcombe's for paired proportions (Statistics in Medicine 17, 1998, 2635-2650,
    method 10): the Wilson intervals of both shares, joined with regard to their correlation. Raises
    ``ValueError`` if there are no items, or not the same of both.
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
    correlation = (both * neither - won * lost) / math.sqrt(margins) if margins else 0.0
    below = _joined(share - low, other_high - other, correlation)
    above = _joined(high - share, other - other_low, correlation)
    difference = share - other
    return Paired(items, won, lost, p_value, difference - below, difference + above)


def _joined(one: float, other: float, correlation: float) -> float:
    """Return how far a bound of a difference is from it, of those of both shares."""
    return math.sqrt(max(one * one - 2 * correlation * one * other + other * other, 0.0))
