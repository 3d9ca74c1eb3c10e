"""Confidence intervals of means and ratios, by Student's and Welch's t distributions.

No ML library is imported, and SciPy only inside the functions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

CONFIDENCE = 0.95
"""Confidence of intervals in reports and comparisons. Limits are checked at
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
    """Return the mean of independent ``values`` with Student's t interval.

    That is ``mean +- t s / sqrt(n)``, with the sample's standard deviation ``s`` (``n - 1`` degrees
    of freedom) and the two-sided quantile ``t``. It is unbounded for a single value. Raises
    ``ValueError`` if there are no values.
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

    That is ``exp`` of the :func:`mean_interval` of their logarithms, because errors of times, and
    of ratios of times, are multiplicative. Raises ``ValueError`` if there are no values or one is
    not positive.
    """
    of_logs = mean_interval([math.log(value) for value in values], confidence)
    return Interval(*(math.exp(min(end, 700.0)) for end in of_logs))


def ratio_interval(
    ours: Sequence[float], theirs: Sequence[float], confidence: float = CONFIDENCE
) -> Interval:
    """Return the geometric mean of ``ours[i] / theirs[i]`` with its :func:`geometric_interval`.

    For values that were measured in pairs, alternately: what slows both values of a pair down does
    not change their ratio. Raises ``ValueError`` if the lengths differ.
    """
    pairs = zip(ours, theirs, strict=True)
    return geometric_interval([one / other for one, other in pairs], confidence)


def welch_interval(
    ours: Sequence[float], theirs: Sequence[float], confidence: float = CONFIDENCE
) -> Interval:
    """Return the ratio of the geometric means of two unpaired groups, with its interval.

    That is ``exp`` of the difference of the mean logarithms and of its Welch t interval, which does
    not assume equal variances. It is unbounded if a group has a single value.
    """
    first, second = ([math.log(value) for value in group] for group in (ours, theirs))
    ratio = math.exp(sum(first) / len(first) - sum(second) / len(second))
    if min(len(first), len(second)) < 2:
        return Interval(ratio, 0.0, math.inf)
    from scipy import stats

    if max(first) == min(first) and max(second) == min(second):
        return Interval(ratio, ratio, ratio)
    of_logs = stats.ttest_ind(first, second, equal_var=False).confidence_interval(confidence)
    return Interval(ratio, math.exp(float(of_logs.low)), math.exp(float(of_logs.high)))
