"""Decides from samples whether a latency goal is met, missed or undecided.

A percentile has an upper and a lower confidence bound (:mod:`pipeline.statistics.percentiles`). The
goal is met if the upper bound of the time keeps the limit, missed if the lower bound does not, and
undecided otherwise. Averages, and ratios to a baseline, have a Student's t interval over rounds:
the goal is undecided if the limit lies inside it. All hold at :data:`CONFIDENCE` over all looks at
the growing samples together (:mod:`pipeline.statistics.looks`). ``min`` and ``max`` are compared as
measured; a limit relative to the base model is computed from its figure as measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from pipeline.contract.result import Verdict
from pipeline.latency.goals import LatencyGoal
from pipeline.latency.rounds import LatencyRounds
from pipeline.latency.timing import FIGURES, Figure, Timings
from pipeline.statistics.intervals import Interval, mean_interval, ratio_interval
from pipeline.statistics.looks import confidence_of_look
from pipeline.statistics.percentiles import (
    CONFIDENCE,
    SHARES,
    Statistic,
    bound,
    effective_samples,
    lower_bound,
    percentile,
)
from pipeline.verdicts.verdicts import limit_verdict, unverified

USUAL: Literal["p90"] = "p90"


class Ruling(NamedTuple):
    """A verdict, and whether more samples could change it."""

    verdict: Verdict
    undecided: bool = False


@dataclass(frozen=True)
class BaseModelTimes:
    """Times of the base model in PyTorch, and the device it ran on."""

    timings: Timings | None = None
    device: str = ""

    def value(self, figure: Figure, statistic: Statistic) -> float | None:
        """Return a statistic of a figure of the base model; ``None`` if it was not timed."""
        if self.timings is None or not self.timings.total_ms:
            return None
        return figure.value(self.timings, statistic)


def decide(
    name: str,
    goal: LatencyGoal,
    ours: LatencyRounds,
    baseline: LatencyRounds | None,
    base: BaseModelTimes,
    look: int = 1,
) -> Ruling:
    """Return the ruling on ``goal``, with a verdict called ``name``.

    ``ours`` are the samples of the artifact, ``baseline`` those of another artifact, measured in
    the same rounds. ``look`` counts the times that the growing samples are looked at, from 1; who
    looks again keeps what was decided before. The verdict is unverified if the goal is relative to
    a base model that was not timed, and undecided if no prompt of the goal's kind was timed.
    """
    figure, statistic = FIGURES[goal.metric], goal.statistic or USUAL
    confidence = confidence_of_look(look, CONFIDENCE)
    if goal.kind not in ours.prompts:
        return _open(name, goal, figure, f"no prompt of {goal.kind} tokens was timed")
    if goal.of_baseline and baseline is not None:
        return _against_baseline(name, goal, figure, statistic, ours, baseline, confidence)
    base_value = base.value(figure, statistic) if goal.of_base else None
    if goal.is_relative and base_value is None:
        return Ruling(unverified(name, "the base model was not timed"))
    relation, limit = goal.limit(figure.per_second, base_value)
    base_note = (
        f"; the base model ran in PyTorch on {base.device}" if base_value is not None else ""
    )
    limited = _Figure(name, figure, statistic, relation, limit, base_note, confidence)
    # "At most" for a time, or "at least" for a rate: confidence bounds of the percentile decide.
    if statistic in SHARES and (relation == ">=") == figure.per_second:
        return limited.percentile(ours.by_process(goal.kind, figure))
    if statistic == "avg":
        return limited.average(ours.per_round(goal.kind, figure, "avg"))
    samples = ours.joined(goal.kind)
    value = figure.value(samples, statistic)
    return Ruling(limited.verdict(value, f"{len(figure.samples(samples))} samples"))


@dataclass(frozen=True)
class _Figure:
    """One statistic of a figure and its limit; ``beside`` is added to every detail. Bounds are at
    ``confidence``, that of the current look."""

    name: str
    figure: Figure
    statistic: Statistic
    relation: Literal["<=", ">="]
    limit: float
    beside: str
    confidence: float

    def verdict(self, value: float, detail: str) -> Verdict:
        """Return the verdict of comparing ``value`` with the limit."""
        detail += self.beside
        return limit_verdict(self.name, value, self.relation, self.limit, self.figure.unit, detail)

    def is_within(self, value: float) -> bool:
        """Return whether ``value`` is within the limit."""
        return value <= self.limit if self.relation == "<=" else value >= self.limit

    def percentile(self, processes: Sequence[Sequence[float]]) -> Ruling:
        """Decide by the confidence bounds of the percentile of the times of all processes."""
        share = SHARES[self.statistic]
        times = [time for process in processes for time in process]
        at_most = bound(processes, share, self.confidence)
        at_least = lower_bound(processes, share, self.confidence)
        middle = self.figure.of_time(percentile(times, SHARES["p50"]))
        read = self.figure.of_time(percentile(times, share))
        shown = f"p50 {middle:.4g}, {self.statistic} {read:.4g}"
        effective = effective_samples(processes, share, self.confidence)
        samples = (
            f"{len(times)} samples of {len(processes)} processes, "
            f"worth {effective:.0f} independent ones"
        )
        if at_most is not None and self.is_within(self.figure.of_time(at_most)):
            sure = f"{self.statistic} at {CONFIDENCE:.0%} confidence by {samples}; {shown}"
            return Ruling(self.verdict(self.figure.of_time(at_most), sure))
        if at_least is not None and not self.is_within(self.figure.of_time(at_least)):
            sure = f"missed at {CONFIDENCE:.0%} confidence by {samples}; {shown}"
            return Ruling(self.verdict(read, sure))
        return self.undecided(
            read,
            f"{samples}, are too few for a {self.statistic}"
            if at_most is None
            else f"the {self.statistic} lies between {_shown(self.figure, at_least)} and "
            f"{_shown(self.figure, at_most)} {self.figure.unit} by {samples}",
        )

    def average(self, rounds: tuple[float, ...]) -> Ruling:
        """Decide by the t interval of the mean of the averages of the rounds."""
        mean = mean_interval(rounds, self.confidence)
        if self.is_within(mean.low) == self.is_within(mean.high):
            return Ruling(self.verdict(mean.value, f"{_interval(mean)} over {len(rounds)} rounds"))
        return self.undecided(mean.value, f"the average is {_interval(mean)}")

    def undecided(self, value: float, why: str) -> Ruling:
        """Return the ruling for samples that prove neither that the goal is met nor missed."""
        return Ruling(_undecided(self.verdict(value, ""), why + self.beside), undecided=True)


def _against_baseline(
    name: str,
    goal: LatencyGoal,
    figure: Figure,
    statistic: Statistic,
    ours: LatencyRounds,
    baseline: LatencyRounds,
    confidence: float,
) -> Ruling:
    """Decide by the ratio to a baseline that was measured in the same rounds.

    Both ends of the ratio's interval (:func:`~pipeline.statistics.intervals.ratio_interval`), times
    the mean of the baseline, are compared with the limit; the goal is undecided if one keeps it and
    the other does not.
    """
    our_rounds = ours.per_round(goal.kind, figure, statistic)
    baseline_rounds = baseline.per_round(goal.kind, figure, statistic)
    ratio = ratio_interval(our_rounds, baseline_rounds, confidence)
    middle = mean_interval(baseline_rounds).value
    relation, limit = goal.limit(figure.per_second, middle)
    sides = [side * middle for side in (ratio.low, ratio.high)]
    within = [side <= limit if relation == "<=" else side >= limit for side in sides]
    detail = (
        f"{100 * (ratio.value - 1):+.1f} % against the baseline ({100 * (ratio.low - 1):+.1f} to "
        f"{100 * (ratio.high - 1):+.1f} %, {len(our_rounds)} rounds in turn)"
    )
    verdict = limit_verdict(name, ratio.value * middle, relation, limit, figure.unit, detail)
    if all(within) or not any(within):
        return Ruling(verdict)
    return Ruling(_undecided(verdict, detail), undecided=True)


def _open(name: str, goal: LatencyGoal, figure: Figure, why: str) -> Ruling:
    verdict = Verdict(name=name, status="failed", unit=figure.unit, limit=goal.at_most)
    return Ruling(_undecided(verdict, why), undecided=True)


def _undecided(verdict: Verdict, why: str) -> Verdict:
    return verdict.model_copy(update={"status": "failed", "detail": f"undecided: {why}"})


def _shown(figure: Figure, time: float | None) -> str:
    return "?" if time is None else f"{figure.of_time(time):.4g}"


def _interval(interval: Interval) -> str:
    return f"between {interval.low:.4g} and {interval.high:.4g} at {CONFIDENCE:.0%} confidence"
