"""Percentiles of samples, and confidence bounds of them that know which process took each sample.

Of ``n`` independent samples, each exceeds the percentile ``share`` with probability ``1 - share``.
If ``P(X <= t) <= 1 - confidence`` for ``X ~ Binomial(n, 1 - share)``, a sample that ``t`` others
exceed is an upper bound of the percentile at that confidence: bounds by order statistics, free of
any distribution but the binomial (Hahn and Meeker, Statistical Intervals, 1991, section 5.2).
MLPerf's early stopping (https://github.com/mlcommons/inference) rests on the same condition and is
one sample stricter: LoadGen takes the sample that ``t - 1`` others exceed, so that it discards 9 of
201 over a p90 where this rule allows 10, and wants ``t >= 1``, so at least 64 for a p90.

Samples of one process are not independent: they share its memory layout, and the load of the
machine while it ran. So the binomial is that of an *effective* number of samples (E. L. Korn and
B. I. Graubard, Confidence intervals for proportions with small expected number of positive counts
estimated from survey data, Survey Methodology 24, 1998, 193-201)::

    n* = n / deff * (t(n - 1) / t(k - 1))^2

for ``n`` samples of ``k`` processes. ``deff`` is the design effect: how many times greater the
variance of the share of samples over the percentile is, computed from the differences between
processes, than it would be for independent samples. It is at least that of times whose logarithms
correlate by :data:`LEAST_CORRELATION` within a process, because few processes may agree by chance.
The quantiles ``t`` of Student's distribution, at the bound's confidence, allow for few processes.
docs/measured.md has the simulated coverage.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Literal

Statistic = Literal["avg", "min", "max", "p50", "p75", "p90", "p95", "p99", "p999"]

SHARES: Mapping[Statistic, float] = {
    "p50": 0.5,
    "p75": 0.75,
    "p90": 0.9,
    "p95": 0.95,
    "p99": 0.99,
    "p999": 0.999,
}
"""The share of samples that are at or below each percentile."""

BOUNDED: tuple[Statistic, ...] = ("p90", "p95", "p99", "p999")
"""Percentiles of the tail: not reported if there are too few samples for an upper bound."""

CONFIDENCE = 0.99

LEAST_CORRELATION = 0.12
"""Smallest correlation of the logarithms of a process's times that is assumed: of many builds on
idle and busy machines, about the mean."""


def percentile(samples: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile: the sample of rank ``ceil(share * n)``, ascending.

    ``share`` is between 0 and 1. Raises ``IndexError`` if there are no samples.
    """
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))]


def allowed_over(count: int, share: float, confidence: float = CONFIDENCE) -> int | None:
    """Return how many of ``count`` samples may exceed an upper bound of the percentile ``share``.

    ``None`` if there are too few samples for any bound: at 99 % confidence, a p90 needs 44 samples
    if none exceeds the bound, and 64 if one does.
    """
    return _binomial_quantile(count, 1 - share, confidence)


@cache
def samples_for(share: float, confidence: float = CONFIDENCE) -> int:
    """Return the smallest number of samples of which one may exceed a bound of the percentile.

    At 99 % confidence these are MLPerf's minimum numbers: 64 for a p90, 662 for a p99.
    """
    return next(n for n in itertools.count(1) if (allowed_over(n, share, confidence) or 0) > 0)


def statistic(samples: Sequence[float], name: Statistic) -> float:
    """Return a statistic of ``samples``, of which there must be at least one."""
    if name == "avg":
        return sum(samples) / len(samples)
    if name in ("min", "max"):
        return min(samples) if name == "min" else max(samples)
    return percentile(samples, SHARES[name])


def effective_samples(
    groups: Sequence[Sequence[float]], share: float, confidence: float = CONFIDENCE
) -> float:
    """Return ``n*``: how many independent samples those of ``groups`` are worth at a percentile.

    Each group has the samples of one process. 0 for fewer than two groups, whose difference says
    how far samples of one process agree. If all samples are equal, nothing is known of that, and
    each group counts as one sample.
    """
    from scipy.stats import t

    sizes = [len(group) for group in groups if group]
    count, processes = sum(sizes), len(sizes)
    if processes < 2:
        return 0.0
    middle = percentile([time for group in groups for time in group], share)
    over = [sum(time > middle for time in group) for group in groups if group]
    if not any(over):  # as for fewer than ten samples of a p90, or equal ones
        over = [sum(time >= middle for time in group) for group in groups if group]
    rate = sum(over) / count
    design_effect = count / processes
    if rate < 1:
        squares = sum((hits - rate * size) ** 2 for hits, size in zip(over, sizes, strict=True))
        variance = processes / (processes - 1) * squares / count**2
        least = 1 + (count / processes - 1) * _least_correlation_beyond(share)
        design_effect = max(least, variance / (rate * (1 - rate) / count))
    few = float(t.ppf(confidence, count - 1) / t.ppf(confidence, processes - 1))
    return count / design_effect * few**2


@cache
def _least_correlation_beyond(share: float) -> float:
    """Return how far samples of a process agree in being over the percentile ``share``, if the
    logarithms of times are normal with the correlation :data:`LEAST_CORRELATION`: ``P(both over) -
    p^2`` divided by ``p (1 - p)``, with ``p = 1 - share``."""
    from scipy.stats import multivariate_normal, norm

    over, both = 1 - share, [float(norm.ppf(1 - share))] * 2
    covariance = [[1.0, LEAST_CORRELATION], [LEAST_CORRELATION, 1.0]]
    together = float(multivariate_normal.cdf(both, cov=covariance))
    return (together - over**2) / (over * share)


def bound(
    groups: Sequence[Sequence[float]], share: float, confidence: float = CONFIDENCE
) -> float | None:
    """Return the smallest sample that is an upper bound of the percentile ``share``.

    Each group has the samples of one process. ``None`` if samples or processes are too few.
    """
    place = _place(groups, 1 - share, confidence, effective_samples(groups, share, confidence))
    return None if place is None else _joined(groups)[-1 - place]


def lower_bound(
    groups: Sequence[Sequence[float]], share: float, confidence: float = CONFIDENCE
) -> float | None:
    """Return the largest sample that is a lower bound of the percentile; ``None`` for too few.

    The counterpart of :func:`bound`, for the rank from below.
    """
    place = _place(groups, share, confidence, effective_samples(groups, share, confidence))
    return None if place is None else _joined(groups)[place]


def _joined(groups: Sequence[Sequence[float]]) -> list[float]:
    return sorted(itertools.chain.from_iterable(groups))


def _place(
    groups: Sequence[Sequence[float]], rate: float, confidence: float, effective: float
) -> int | None:
    """Return how many samples may lie beyond a bound, beyond which each lies with probability
    ``rate``; ``None`` if not even 0."""
    share_beyond = _quantile_share(effective, rate, confidence)
    count = sum(map(len, groups))
    return None if share_beyond is None else math.floor(share_beyond * count + 1e-9)


def _quantile_share(effective: float, rate: float, confidence: float) -> float | None:
    """Return the largest ``x`` with ``P(X <= x n) <= 1 - confidence`` for ``X ~ Binomial(n, rate)``
    and a number ``n`` of samples that need not be whole; ``None`` if there is none.

    The binomial's distribution function is the regularized incomplete beta function
    ``1 - I_rate(x n + 1, n - x n)``, which has a value for every real ``n``.
    """
    from scipy.optimize import brentq
    from scipy.special import betaincc

    chance = 1 - confidence

    def excess(beyond: float) -> float:
        return float(betaincc(beyond + 1, effective - beyond, rate)) - chance

    if effective <= 0 or excess(0.0) > 0:
        return None
    # At the mean, n times the rate, the distribution function is near one half.
    return float(brentq(excess, 0.0, effective * rate)) / effective


def _binomial_quantile(count: int, rate: float, confidence: float) -> int | None:
    """Return the largest ``t`` with ``P(X <= t) <= 1 - confidence``, ``X ~ Binomial(count, rate)``.

    ``None`` if ``P(X = 0)`` is larger already.
    """
    from scipy.stats import binom

    chance = 1 - confidence
    hits = int(binom.ppf(chance, count, rate))
    if binom.cdf(hits, count, rate) > chance:
        hits -= 1
    return hits if hits >= 0 else None
