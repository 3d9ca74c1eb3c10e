"""Chooses the next point of a search space: the next in order, or one that Optuna samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import JsonValue

from pipeline.tuning.params import Axes, Point

Tried = Sequence[tuple[Point, float | None]]
"""Points tried, with the time to be minimized; ``None`` for those that failed."""

_BLIND = 5
"""Points that are sampled at random before the results decide."""
_ASKED = 32
"""Attempts to sample a point that was not tried; then the first such point is used."""


def next_point(
    points: Sequence[Point], tried: Tried, by: Literal["grid", "random", "tpe"], seed: int
) -> Point:
    """Return one of ``points`` that was not ``tried`` yet, beginning with the first.

    The choice depends only on the arguments, so an interrupted search continues as if it had not
    been. Raises ``LookupError`` if all were tried.
    """
    known = [point for point, _ in tried]
    left = [point for point in points if point not in known]
    if not left:
        raise LookupError("every point was tried")
    if by == "grid" or not tried:
        return left[0]
    sampled = (point for point in _sampled(axes_of(points), tried, by, seed) if point in left)
    return next(sampled, left[0])


def axes_of(points: Sequence[Point]) -> Axes:
    """Return the values of each parameter in ``points``."""
    axes: dict[str, list[JsonValue]] = {}
    for point in points:
        for name, value in point.items():
            values = axes.setdefault(name, [])
            if value not in values:
                values.append(value)
    return {name: tuple(values) for name, values in axes.items()}


def _sampled(axes: Axes, tried: Tried, by: Literal["random", "tpe"], seed: int) -> Iterator[Point]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # Each turn has its own seed; with the same one, every random choice would be the same.
    seed = seed * 1_000_003 + len(tried)
    sampler: optuna.samplers.BaseSampler = (
        optuna.samplers.RandomSampler(seed=seed)
        if by == "random"
        else optuna.samplers.TPESampler(seed=seed, n_startup_trials=_BLIND)
    )
    study = optuna.create_study(sampler=sampler)
    # Indices into an axis, because Optuna's categories cannot be tables.
    choices = {
        name: optuna.distributions.CategoricalDistribution(range(len(values)))
        for name, values in axes.items()
    }
    for point, took in tried:
        places = {name: axes[name].index(value) for name, value in point.items()}
        state = optuna.trial.TrialState.FAIL if took is None else optuna.trial.TrialState.COMPLETE
        study.add_trial(
            optuna.trial.create_trial(params=places, distributions=choices, value=took, state=state)
        )
    for _ in range(_ASKED):
        places = study.ask(choices).params
        yield {name: _value(axes, name, places[name]) for name in axes}


def _value(axes: Axes, name: str, place: int) -> JsonValue:
    return axes[name][place]
