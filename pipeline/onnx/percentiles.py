"""Percentiles, and how sure one may be of them.

MLPerf's early-stopping rule: with n samples of which t exceed a value, the value bounds the p-th
percentile at the given confidence if seeing so few by chance is unlikely, that is if the binomial
probability of at most t in n at rate 1 - p is at most 1 - confidence
(https://github.com/mlcommons/inference_policies, "early stopping").
"""

from __future__ import annotations

import math
from collections.abc import Sequence

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
    allowed = None
    total = 0.0
    for over in range(count + 1):
        # In logarithms: the binomial coefficients of long runs do not fit into a float.
        ways = math.lgamma(count + 1) - math.lgamma(over + 1) - math.lgamma(count - over + 1)
        total += math.exp(ways + over * math.log1p(-share) + (count - over) * math.log(share))
        if total > 1 - confidence:
            break
        allowed = over
    return allowed


def bound(samples: Sequence[float], share: float, confidence: float = CONFIDENCE) -> float | None:
    """Return the smallest sample that bounds the percentile, or ``None`` for too few samples."""
    over = allowed_over(len(samples), share, confidence)
    return None if over is None else sorted(samples, reverse=True)[over]
