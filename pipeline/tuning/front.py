"""Which builds are best for some use: the Pareto front of size, time and closeness.

A build is on the front if no other is at least as good in all three and better in one. Only whole
builds that keep the limits and were timed count: one that is fast and wrong is on no front. Free of
any ML library.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pipeline.tuning.trials import Trial


def front_of(trials: Sequence[Trial]) -> tuple[int, ...]:
    """Return the places of those on the front, the smallest first, then the fastest per token."""
    figures = {
        place: _figures(trial)
        for place, trial in enumerate(trials)
        if trial.stage == "final" and trial.status == "measured" and trial.speed is not None
    }
    best = [
        place
        for place, own in figures.items()
        if not any(_beats(other, own) for other in figures.values())
    ]
    return tuple(sorted(best, key=lambda place: (*figures[place], place)))


def cheapest_of(trials: Sequence[Trial], margin: float) -> list[Trial]:
    """Return those that are at most the share ``margin`` larger than the smallest."""
    smallest = min(_figures(trial)[0] for trial in trials)
    return [trial for trial in trials if _figures(trial)[0] <= smallest * (1 + margin)]


def _figures(trial: Trial) -> tuple[float, float, float]:
    """Return bytes, milliseconds per token and divergence; what is not known is infinite."""
    return (
        math.inf if trial.bytes is None else float(trial.bytes),
        math.inf if trial.speed is None else trial.speed.token_ms,
        math.inf if trial.cost is None else trial.cost,
    )


def _beats(other: tuple[float, ...], own: tuple[float, ...]) -> bool:
    return other != own and all(a <= b for a, b in zip(other, own, strict=True))
