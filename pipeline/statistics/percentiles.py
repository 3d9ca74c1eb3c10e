"""Percentiles of samples, and confidence bounds of them by order statistics (Hahn and Meeker,
Statistical Intervals, 1991, section 5.2): free of any distribution but the binomial.

Of ``n`` independent samples, each exceeds the percentile ``share`` with probability ``1 - share``.
If ``P(X <= t) <= 1 - confidence`` for ``X ~ Binomial(n, 1 - share)``, a sample that ``t`` others
exceed is an upper bound of the percentile at that confidence.

MLPerf's early stopping (https://github.com/mlcommons/inference_policies) rests on the same
condition but is stricter: it discards one sample less (of 100, LoadGen allows two over a p90, this
rule three), and wants at least one over the bound, so 64 samples for a p90.
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


def bound(samples: Sequence[float], share: float, confidence: float = CONFIDENCE) -> float | None:
    """Return the smallest sample that is an upper bound of the percentile ``share``.

    ``None`` if there are too few samples.
    """
    over = allowed_over(len(samples), share, confidence)
    return None if over is None else sorted(samples, reverse=True)[over]


def lower_bound(
    samples: Sequence[float], share: float, confidence: float = CONFIDENCE
) -> float | None:
    """Return the largest sample that is a lower bound of the percentile; ``None`` for too few.

    The counterpart of :func:`bound`: the k-th smallest of n samples exceeds the percentile with
    probability ``P(X < k)`` for ``X ~ Binomial(n, share)``.
    """
    below = _binomial_quantile(len(samples), share, confidence)
    return None if below is None else sorted(samples)[below]


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
