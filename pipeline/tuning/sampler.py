"""Which point of a space is tried next: all in turn, or a sample that Optuna chooses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import JsonValue

from pipeline.tuning.params import Axes, Point, grid, size

Tried = Sequence[tuple[Point, float | None]]
"""Points and how long an answer took there; ``None`` where none came."""

_BLIND = 5
"""Points that are chosen blindly before what was found decides."""
_ASKED = 32
"""How often a sampler is asked for a point that was not tried; then the first such is taken."""


def next_point(axes: Axes, tried: Tried, by: Literal["grid", "random", "tpe"], seed: int) -> Point:
    """Return a point that is not among those ``tried``, the start of the space first.

    The same points tried give the same next one, so a search that was killed goes on as it would
    have. Raises ``LookupError`` where all were tried.
    """
    known = [point for point, _ in tried]
    left = (point for point in grid(axes) if point not in known)
    if len(known) >= size(axes):
        raise LookupError("every point was tried")
    if by == "grid" or not tried:
        return next(left)
    return next(
        (point for point in _sampled(axes, tried, by, seed) if point not in known), None
    ) or next(left)


def _sampled(axes: Axes, tried: Tried, by: Literal["random", "tpe"], seed: int) -> Iterator[Point]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # A seed of its own for every turn: the same one would choose at random alike each time.
    seed = seed * 1_000_003 + len(tried)
    sampler: optuna.samplers.BaseSampler = (
        optuna.samplers.RandomSampler(seed=seed)
        if by == "random"
        else optuna.samplers.TPESampler(seed=seed, n_startup_trials=_BLIND)
    )
    study = optuna.create_study(sampler=sampler)
    # Places in an axis, since Optuna's categories can be no tables.
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
