"""How sure a figure is. Free of any ML library at the top; SciPy is imported where it is used."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

CONFIDENCE = 0.95
"""Of intervals that are shown or compared. Limits are held at
:data:`pipeline.statistics.percentiles.CONFIDENCE`."""


class Interval(NamedTuple):
    """A figure and the ends of its confidence interval."""

    value: float
    low: float
    high: float

    def overlaps(self, other: Interval) -> bool:
        """Return whether the two intervals have a value in common."""
        return self.low <= other.high and other.low <= self.high


def mean_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Return the mean of independent ``values`` with Student's t interval, unbounded for one.

    Raises ``ValueError`` for none.
    """
    if not values:
        raise ValueError("no values")
    mean = sum(values) / len(values)
    if len(values) == 1:
        return Interval(mean, -math.inf, math.inf)
    from scipy import stats

    error = float(stats.sem(values))
    if error == 0:
        return Interval(mean, mean, mean)
    low, high = stats.t.interval(confidence, len(values) - 1, loc=mean, scale=error)
    return Interval(mean, float(low), float(high))


def geometric_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Return the geometric mean of independent positive ``values`` with its interval.

    That is :func:`mean_interval` of their logarithms: times and ratios of times err by factors.
    """
    found = mean_interval([math.log(value) for value in values], confidence)
    return Interval(*(math.exp(min(end, 700.0)) for end in found))


def ratio_interval(
    ours: Sequence[float], theirs: Sequence[float], confidence: float = CONFIDENCE
) -> Interval:
    """Return ``ours / theirs`` for values taken in turn, A B A B: ``ours[i]`` beside ``theirs[i]``.

    What slows both of a pair down leaves their ratio as it is.
    """
    pairs = zip(ours, theirs, strict=True)
    return geometric_interval([one / other for one, other in pairs], confidence)


def welch_interval(
    ours: Sequence[float], theirs: Sequence[float], confidence: float = CONFIDENCE
) -> Interval:
    """Return the ratio of the geometric means of two unpaired groups, by Welch's t interval of the
    difference of the logarithms. Unbounded where one group has a single value."""
    first, second = ([math.log(value) for value in group] for group in (ours, theirs))
    ratio = math.exp(sum(first) / len(first) - sum(second) / len(second))
    if min(len(first), len(second)) < 2:
        return Interval(ratio, 0.0, math.inf)
    from scipy import stats

    if max(first) == min(first) and max(second) == min(second):
        return Interval(ratio, ratio, ratio)
    found = stats.ttest_ind(first, second, equal_var=False).confidence_interval(confidence)
    return Interval(ratio, math.exp(float(found.low)), math.exp(float(found.high)))
