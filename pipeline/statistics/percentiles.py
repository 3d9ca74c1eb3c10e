"""Percentiles, and how sure one may be of them.

MLPerf's early-stopping rule: with n samples of which t exceed a value, the value bounds the p-th
percentile at the given confidence if seeing so few by chance is unlikely, that is if the binomial
probability of at most t in n at rate 1 - p is at most 1 - confidence
(https://github.com/mlcommons/inference_policies, "early stopping").
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
"""The share of samples that each percentile leaves below it."""

BOUNDED: tuple[Statistic, ...] = ("p90", "p95", "p99", "p999")
"""Percentiles of a tail: few samples say little about them, so they are bounded, not read off."""

CONFIDENCE = 0.99


def percentile(samples: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile; ``share`` between 0 and 1."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))]


def allowed_over(count: int, share: float, confidence: float = CONFIDENCE) -> int | None:
    """Return how many of ``count`` samples may exceed a bound of the percentile ``share``.

    ``None`` if even none would be too few samples: a p90 needs 44 samples with none over it, 64
    with one.
    """
    return _seldom(count, 1 - share, confidence)


@cache
def samples_for(share: float, confidence: float = CONFIDENCE) -> int:
    """Return how many samples bound the percentile ``share`` if one of them may exceed it.

    As many as MLPerf asks for: 64 for a p90, 662 for a p99.
    """
    return next(n for n in itertools.count(1) if (allowed_over(n, share, confidence) or 0) > 0)


def statistic(samples: Sequence[float], name: Statistic) -> float:
    """Return a statistic of ``samples``, of which there is at least one."""
    if name == "avg":
        return sum(samples) / len(samples)
    if name in ("min", "max"):
        return min(samples) if name == "min" else max(samples)
    return percentile(samples, SHARES[name])


def bound(samples: Sequence[float], share: float, confidence: float = CONFIDENCE) -> float | None:
    """Return the smallest sample that bounds the percentile, or ``None`` for too few samples."""
    over = allowed_over(len(samples), share, confidence)
    return None if over is None else sorted(samples, reverse=True)[over]


def lower_bound(
    samples: Sequence[float], share: float, confidence: float = CONFIDENCE
) -> float | None:
    """Return the largest sample that the percentile exceeds, or ``None`` for too few samples.

    The counterpart of :func:`bound`: the k-th smallest of n samples lies above the percentile with
    the binomial probability of fewer than k in n at rate ``share``.
    """
    below = _seldom(len(samples), share, confidence)
    return None if below is None else sorted(samples)[below]


def _seldom(count: int, rate: float, confidence: float) -> int | None:
    """Return the most hits in ``count`` that are so few only by a chance of ``1 - confidence``.

    ``None`` where even no hit at all is more likely at ``rate`` than that.
    """
    from scipy.stats import binom

    chance = 1 - confidence
    hits = int(binom.ppf(chance, count, rate))
    if binom.cdf(hits, count, rate) > chance:
        hits -= 1
    return hits if hits >= 0 else None
