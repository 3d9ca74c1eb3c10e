"""Which of the trials of whole builds is the best."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline.tuning.trials import Trial


def best_of(trials: Sequence[Trial], score: Callable[[Trial], float], tie: float) -> Trial:
    """Return the trial that is closest to the float model among those that are equally fast: at
    most the share ``tie`` slower than the fastest of all.

    ``score`` is the time of a trial. The order of the trials, of which there must be one, does not
    matter. If it is not known how close the fastest is, that one is returned.
    """
    fastest = min(trials, key=score)
    if fastest.cost is None:
        return fastest
    limit = score(fastest) * (1 + tie)
    equally_fast = [one for one in trials if score(one) <= limit and one.cost is not None]
    return min(equally_fast, key=lambda one: (one.cost, score(one)))
