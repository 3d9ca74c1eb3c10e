"""Computes statistics of a measurement: medians with intervals, and bounds of percentiles."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pipeline.latency.rounds import LatencyRounds
from pipeline.latency.timing import FIGURES
from pipeline.statistics.intervals import CONFIDENCE, Interval, geometric_interval
from pipeline.statistics.percentiles import SHARES, allowed_over, bound
from targets.bench.bench_schema import Range, Statistics

SHOWN = ("first_token_ms", "token_ms")
"""The figures that are shown with an interval, for each kind of prompt."""


def summarize(measured: LatencyRounds) -> Mapping[str, Mapping[str, Statistics]]:
    """Return the statistics of each figure per kind of prompt; empty if nothing was timed."""
    return {
        prompt: {
            name: statistics
            for name in FIGURES
            if (statistics := statistics_of(measured, prompt, name)) is not None
        }
        for prompt in measured.prompts
    }


def statistics_of(measured: LatencyRounds, prompt: str, name: str) -> Statistics | None:
    """Return the statistics of one figure, computed from the raw times."""
    figure = FIGURES[name]
    middles = measured.per_round(prompt, figure, "p50")
    if not middles:
        return None
    timings = measured.joined(prompt)
    times = figure.samples(timings)
    sure = bound(measured.by_process(prompt, figure), SHARES["p90"])
    # All figures that are shown of an artifact are right together (Bonferroni).
    shown = len(SHOWN) * len(measured.prompts)
    confidence = 1 - (1 - CONFIDENCE) / shown
    return Statistics(
        p50=as_range(geometric_interval(middles, confidence)),
        p90=figure.value(timings, "p90") if allowed_over(len(times), SHARES["p90"]) else None,
        p90_bound=None if sure is None else figure.of_time(sure),
        samples=len(times),
        rounds=len(middles),
    )


def as_range(interval: Interval) -> Range:
    """Return an interval in a form for JSON, with ``None`` for unbounded ends.

    Ends that are too large to mean anything, as of very few rounds, count as unbounded.
    """
    low, high = interval.low, interval.high
    known = math.isfinite(low) and math.isfinite(high) and high < 1e300
    return Range(value=interval.value, low=low if known else None, high=high if known else None)
