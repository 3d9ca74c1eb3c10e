"""Percentiles, and bounds of them that know which process took each sample."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest

from pipeline.statistics.percentiles import (
    LEAST_CORRELATION,
    allowed_over,
    bound,
    effective_samples,
    lower_bound,
    percentile,
)


def test_percentile_is_the_nearest_rank() -> None:
    assert percentile([3, 1, 2, 4], 0.5) == 2
    assert percentile([3, 1, 2, 4], 1.0) == 4
    assert percentile([5], 0.9) == 5


@pytest.mark.parametrize(
    ("count", "share", "over"),
    [(43, 0.9, None), (44, 0.9, 0), (63, 0.9, 0), (64, 0.9, 1), (661, 0.99, 0), (662, 0.99, 1)],
)
def test_samples_are_as_many_as_the_binomial_asks_for(
    count: int, share: float, over: int | None
) -> None:
    assert allowed_over(count, share) == over


@pytest.mark.parametrize(
    ("queries", "discarded"),
    [
        (100, 2),
        (201, 9),
        (659, 47),
        (708, 51),
        (2_048, 172),
        (2_116, 178),
        (79_944, 7_796),
        (4_776_846, 476_158),
    ],
)
def test_loadgen_is_one_sample_stricter(queries: int, discarded: int) -> None:
    """ "Would discard N highest latency queries" of MLPerf's published logs, for a p90."""
    assert allowed_over(queries, 0.9) == discarded + 1


def correlated(
    rng: np.random.Generator, processes: int, each: int, rho: float
) -> list[list[float]]:
    """Return logarithms of times, normal with variance 1, that correlate within a process."""
    level = rng.normal(size=(processes, 1)) * math.sqrt(rho)
    drawn = level + rng.normal(size=(processes, each)) * math.sqrt(1 - rho)
    return [list(map(float, row)) for row in drawn]


def pooled_bound(groups: list[list[float]], share: float) -> float:
    """Return the bound of samples that are taken for independent (Hahn and Meeker)."""
    from scipy import stats

    samples = sorted((value for group in groups for value in group), reverse=True)
    allowed = int(stats.binom.ppf(0.01, len(samples), 1 - share)) - 1
    return samples[allowed]


@pytest.mark.parametrize("rho", [0.2, 0.5])
def test_a_bound_holds_where_processes_differ(rho: float) -> None:
    """Of 12 processes of 120; that which pools them lies below the true p90 in a fourth of all
    runs and more."""
    rng = np.random.default_rng(1)
    true = NormalDist().inv_cdf(0.9)
    wrong = above = pooled = 0
    for _ in range(200):
        groups = correlated(rng, 12, 120, rho)
        high, low = bound(groups, 0.9), lower_bound(groups, 0.9)
        wrong += high is not None and high < true
        above += low is not None and low > true
        pooled += pooled_bound(groups, 0.9) < true
    assert wrong <= 7, "1 % of 200, and what chance adds"
    assert above <= 7
    assert pooled > 30


def test_samples_of_one_process_bound_nothing() -> None:
    assert effective_samples([[1.0, 2.0, 3.0]], 0.9) == 0
    assert bound([list(map(float, range(1000)))], 0.9) is None
    assert lower_bound([[1.0]], 0.5) is None
    assert bound([[], []], 0.9) is None


def test_each_process_counts_once_if_its_samples_are_alike() -> None:
    """So 44 are needed for a p90, and some more since their number is small."""
    from scipy import stats

    alike = [[float(process)] * 50 for process in range(60)]
    few = (stats.t.ppf(0.99, 2999) / stats.t.ppf(0.99, 59)) ** 2
    rate, sizes = 6 / 60, np.full(60, 50)
    over = np.where(np.arange(60) > percentile([v for g in alike for v in g], 0.9), 50, 0)
    residuals = over - over.mean() / 50 * sizes
    variance = 60 / 59 * (residuals**2).sum() / 3000**2
    effect = variance / (over.mean() / 50 * (1 - over.mean() / 50) / 3000)
    assert rate == pytest.approx(over.mean() / 50, abs=0.02)
    assert effective_samples(alike, 0.9) == pytest.approx(3000 / effect * few)
    assert 44 < effective_samples(alike, 0.9) < 62
    assert bound(alike[:40], 0.9) is None


def test_few_processes_are_never_taken_for_independent() -> None:
    """The least correlation, of being over the p90 together, by a simulation of its own."""
    from scipy import stats

    rng = np.random.default_rng(2)
    level = rng.normal(size=(400_000, 1)) * math.sqrt(LEAST_CORRELATION)
    pair = level + rng.normal(size=(400_000, 2)) * math.sqrt(1 - LEAST_CORRELATION)
    both = pair > NormalDist().inv_cdf(0.9)
    least = float(np.corrcoef(both[:, 0], both[:, 1])[0, 1])
    even = [[float(place) for place in range(50)] for _ in range(12)]
    few = (stats.t.ppf(0.99, 599) / stats.t.ppf(0.99, 11)) ** 2
    assert effective_samples(even, 0.9) == pytest.approx(600 / (1 + 49 * least) * few, rel=0.05)
