"""How often the intervals of reports hold what they should: ``nox -s bench-coverage``.

Draws made-up times and answers whose true figures are known, again and again, gives them to the
functions that make the figures of reports, and counts. Writes the section of ``docs/measured.md``
that says, per interval, how often it was right. No model runs; it takes minutes.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from scipy import stats

from pipeline.latency.goals import LatencyGoal
from pipeline.latency.rounds import LatencyRounds, Round
from pipeline.latency.rulings import BaseModelTimes, decide
from pipeline.latency.timing import Timings
from pipeline.statistics.intervals import (
    CONFIDENCE,
    Interval,
    geometric_interval,
    ratio_interval,
    welch_interval,
)
from pipeline.statistics.looks import next_look
from pipeline.statistics.paired import compare_paired, share_interval
from pipeline.statistics.percentiles import bound
from targets.bench.significance import (
    SMALLEST_RATIO,
    holm,
    independent_shares,
    judge_time,
    paired_p_value,
    unpaired_p_value,
)
from targets.bench.summaries import as_range
from tests.benchmarks import pages
from tests.benchmarks.pages import Section

CORRELATIONS = (0.0, 0.33, 0.59)
"""Of the samples of a process: none, and those of first tokens and of further ones in a report of a
busy machine. Reports of idle ones lie between."""
SPREAD = 0.3
"""Standard deviation of the logarithm of a time."""
MOST_PROCESSES = 140
"""Processes after which a goal is given up as undecided."""
_COLUMNS = ("interval", "of", "should hold", "held", "95 % interval of that", "given")
_HOW = """\
Each line is {runs:,} draws of made-up data whose true figure is known; those of verdicts after all
looks and of benches are {few:,}. Times are log-normal. Samples of one process correlate, their
logarithms by the number given: 0.33 and 0.59 were measured on a busy machine. "Given" is how often
there are enough samples for a bound; where there is none, nothing wrong is said. A verdict is right
unless it says met or missed where the limit is the true figure itself; it is looked for after 12,
18, 27, … processes until {most}. In the lines of slow processes every fifth is slower by 2.5
standard deviations of processes: in one of 15 runs a dozen processes has none of them, however many
samples each gives."""

Rng = np.random.Generator
Once = Callable[[Rng], bool | None]
"""Draws once; returns whether the interval held the truth, ``None`` if there was none."""


@dataclass(frozen=True)
class Held:
    """How often an interval held the true figure."""

    interval: str
    of: str
    should: float
    held: int
    given: int
    runs: int

    def __str__(self) -> str:
        low, high = share_interval(self.held, self.runs)
        shown = f"{self.held / self.runs:.1%} | {low:.1%} to {high:.1%}"
        cells = f"| {self.interval} | {self.of} | {self.should:.0%} | {shown} "
        return f"{cells}| {self.given / self.runs:.0%} |"


def main() -> None:
    """Draw, count, and write the section."""
    arguments = parser().parse_args()
    pages.require_clean(arguments.out)
    origin = pages.origin(f"./nox -s bench-coverage -- --runs {arguments.runs}")
    few = max(1, arguments.runs // 2)
    how = _HOW.format(runs=arguments.runs, few=few, most=MOST_PROCESSES)
    rows = held(arguments.runs, few)
    section = Section("coverage", "How often intervals hold", rows, how, _COLUMNS)
    pages.measure(section, arguments.out, origin)


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    parser = argparse.ArgumentParser(prog="nox -s bench-coverage --", description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    pages.add_out(parser, pages.MEASURED)
    return parser


def held(runs: int, few: int) -> Iterator[Held]:
    """Yield how often each interval held, one by one."""
    once: Once
    for processes, each in ((12, 8), (12, 120), (16, 16), (44, 8)):
        for correlation in CORRELATIONS:
            of = f"{processes} processes of {each}, correlation {correlation:g}"
            once = partial(_p90, processes, each, correlation, "even")
            yield count("upper bound of a p90", of, 0.99, once, runs)
    for processes, each in ((12, 8), (12, 120), (24, 120), (44, 8)):
        of = f"{processes} processes of {each}, every fifth slow"
        once = partial(_p90, processes, each, 0.33, "slow")
        yield count("upper bound of a p90", of, 0.99, once, runs)
    for word, name in (("passed", "met"), ("failed", "missed")):
        for each, correlation in ((8, 0.0), (8, 0.33), (60, 0.59)):
            of = f"{each} samples of each process, correlation {correlation:g}"
            once = partial(_verdict, "p90", each, correlation, word)
            yield count(f"verdict “{name}” on a p90, all looks", of, 0.99, once, few)
        once = partial(_verdict, "avg", 8, 0.33, word)
        of = "8 samples of each process, correlation 0.33"
        yield count(f"verdict “{name}” on an average, all looks", of, 0.99, once, few)
    for rounds in (12, 16):
        for correlation in CORRELATIONS:
            of = f"{rounds} processes of 8, correlation {correlation:g}"
            once = partial(_median, rounds, correlation)
            yield count("median time", of, CONFIDENCE, once, runs)
    for rounds in (5, 16):
        once = partial(_ratio, rounds)
        yield count("ratio, measured in turns", f"{rounds} rounds", CONFIDENCE, once, runs)
    yield count("ratio of two benches", "16 and 12 rounds", CONFIDENCE, _welch, runs)
    for basis in ("in turn", "recorded"):
        once = partial(_no_alarm, basis)
        of = "10 figures of the same artifact, 16 rounds"
        yield count(f"bench, {basis}: no change is called one", of, 0.95, once, few)
    for items, share in ((60, 0.9), (150, 0.9), (150, 0.97), (600, 0.9)):
        once = partial(_share, items, share)
        yield count("accuracy", f"{items} answers, {share:.0%} right", CONFIDENCE, once, runs)
    for items, ours, both in ((60, 0.9, 0.85), (150, 0.9, 0.88), (600, 0.92, 0.88)):
        of = f"{items} answers, {ours:.0%} and 90% right, {both:.0%} by both"
        once = partial(_paired, items, ours, 0.9, both)
        yield count("difference of accuracies, same prompts", of, CONFIDENCE, once, runs)
    once = partial(_apart, 150)
    yield count("difference of accuracies, others", "150 answers each", CONFIDENCE, once, runs)


def count(interval: str, of: str, should: float, once: Once, runs: int) -> Held:
    """Draw ``runs`` times, with the same numbers at each run of this command."""
    rng = np.random.default_rng(7)
    found = [once(rng) for _ in range(runs)]
    given = sum(right is not None for right in found)
    return Held(interval, of, should, sum(right is not False for right in found), given, runs)


def _logs(
    rng: Rng, processes: int, each: int, correlation: float, kind: Literal["even", "slow"] = "even"
) -> np.ndarray:
    """Return logarithms of times, of variance 1 if processes are ``even``: [processes, each]."""
    if kind == "even":
        level = rng.normal(size=(processes, 1))
    else:
        level = np.where(rng.random((processes, 1)) < 0.2, 2.0, -0.5)
    noise = rng.normal(size=(processes, each))
    drawn: np.ndarray = math.sqrt(correlation) * level + math.sqrt(1 - correlation) * noise
    return drawn


def _true_p90(correlation: float, kind: Literal["even", "slow"]) -> float:
    """Return the p90 of :func:`_logs`."""
    if kind == "even":
        return float(stats.norm.ppf(0.9))
    between, within = math.sqrt(correlation), math.sqrt(1 - correlation)

    def over(value: float) -> float:
        slow, fast = stats.norm.sf([(value - 2 * between) / within, (value + between / 2) / within])
        return float(0.2 * slow + 0.8 * fast) - 0.1

    low, high = -5.0, 5.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if over(middle) > 0 else (low, middle)
    return low


def _p90(
    processes: int, each: int, correlation: float, kind: Literal["even", "slow"], rng: Rng
) -> bool | None:
    sure = bound(_logs(rng, processes, each, correlation, kind).tolist(), 0.9)
    return None if sure is None else sure >= _true_p90(correlation, kind)


def _verdict(
    statistic: Literal["p90", "avg"], each: int, correlation: float, word: str, rng: Rng
) -> bool:
    """Return whether no look at a goal, whose limit is the true figure, comes to ``word``."""
    true = math.exp(SPREAD**2 / 2 if statistic == "avg" else SPREAD * stats.norm.ppf(0.9))
    goal = LatencyGoal(metric="first_token_ms", statistic=statistic, at_most=10 * true)
    rounds: list[Round] = []
    processes, look = 12, 1
    while processes <= MOST_PROCESSES:
        new = _logs(rng, processes - len(rounds), each, correlation)
        rounds += [_round(10 * np.exp(SPREAD * row)) for row in new]
        measured = LatencyRounds(rounds=tuple(rounds))
        found = decide("goal", goal, measured, None, BaseModelTimes(), look)
        if not found.undecided:
            return found.verdict.status != word
        processes, look = next_look(processes), look + 1
    return True


def _round(times: np.ndarray) -> Round:
    values = tuple(map(float, times))
    timings = Timings(
        prompt_tokens=(8,) * len(values), first_token_ms=values, token_ms=values, total_ms=values
    )
    return Round(load_ms=1, timings={"short": timings})


def _medians(rng: Rng, rounds: int, correlation: float, each: int = 8) -> list[float]:
    """Return the median time of each process, as reports take them (the nearest rank)."""
    ordered = np.sort(_logs(rng, rounds, each, correlation), axis=1)
    return [float(value) for value in np.exp(SPREAD * ordered[:, math.ceil(each / 2) - 1])]


def _true_median(correlation: float, each: int = 8) -> float:
    """Return the geometric mean of :func:`_medians`: the mean of an order statistic of normals."""
    rank = math.ceil(each / 2)

    def density(value: float) -> float:
        below = float(stats.norm.cdf(value))
        place = stats.beta.pdf(below, rank, each - rank + 1)
        return value * float(place) * float(stats.norm.pdf(value))

    grid = np.linspace(-6, 6, 2001)
    mean = float(np.trapezoid([density(value) for value in grid], grid))
    return math.exp(SPREAD * math.sqrt(1 - correlation) * mean)


_TRUE_MEDIANS = {correlation: _true_median(correlation) for correlation in CORRELATIONS}


def _median(rounds: int, correlation: float, rng: Rng) -> bool:
    found = geometric_interval(_medians(rng, rounds, correlation))
    return _holds(found, _TRUE_MEDIANS[correlation])


def _turns(rng: Rng, rounds: int, ratio: float) -> tuple[list[float], list[float]]:
    """Return the medians of two artifacts, which one load slows in each round."""
    load = np.exp(rng.normal(size=rounds) * SPREAD)
    ours, theirs = (np.array(_medians(rng, rounds, 0.33)) * load for _ in range(2))
    return [float(value) for value in ratio * ours], [float(value) for value in theirs]


def _ratio(rounds: int, rng: Rng) -> bool:
    return _holds(ratio_interval(*_turns(rng, rounds, 1.07)), 1.07)


def _welch(rng: Rng) -> bool:
    ours = [1.07 * value for value in _medians(rng, 16, 0.33)]
    return _holds(welch_interval(ours, _medians(rng, 12, 0.33)), 1.07)


def _no_alarm(basis: str, rng: Rng) -> bool:
    """Return whether no figure of an unchanged artifact is called faster or slower."""
    changes: list[tuple[Interval, float]] = []
    for _ in range(10):
        if basis == "in turn":
            ours, theirs = _turns(rng, 16, 1.0)
            changes.append((ratio_interval(ours, theirs), paired_p_value(ours, theirs)))
        else:
            ours, theirs = (_medians(rng, 16, 0.33) for _ in range(2))
            changes.append((welch_interval(ours, theirs), unpaired_p_value(ours, theirs)))
    adjusted = holm([p_value for _, p_value in changes])
    words = {
        judge_time(as_range(change), p_value, sure, SMALLEST_RATIO).word
        for (change, p_value), sure in zip(changes, adjusted, strict=True)
    }
    return not words & {"faster", "slower"}


def _share(items: int, share: float, rng: Rng) -> bool:
    low, high = share_interval(int(rng.binomial(items, share)), items)
    return low <= share <= high


def _paired(items: int, ours: float, theirs: float, both: float, rng: Rng) -> bool:
    cells = rng.multinomial(items, [both, ours - both, theirs - both, 1 - ours - theirs + both])
    pairs = [(True, True), (True, False), (False, True), (False, False)]
    rows = [pair for pair, times in zip(pairs, cells, strict=True) for _ in range(times)]
    found = compare_paired([one for one, _ in rows], [other for _, other in rows])
    return found.low <= ours - theirs <= found.high


def _apart(items: int, rng: Rng) -> bool:
    ours, theirs = (
        Interval(right / items, *share_interval(right, items))
        for right in (int(rng.binomial(items, 0.92)), int(rng.binomial(items, 0.88)))
    )
    return _holds(independent_shares(ours, theirs), 0.04)


def _holds(interval: Interval, true: float) -> bool:
    return interval.low <= true <= interval.high


if __name__ == "__main__":
    main()
