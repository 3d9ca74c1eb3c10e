"""When samples prove a limit met or missed, and when they leave it open."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from statistics import NormalDist

import pytest

from pipeline.latency.goals import LatencyGoal
from pipeline.latency.rounds import LatencyRounds, Round
from pipeline.latency.rulings import BaseModelTimes, Ruling, decide
from pipeline.latency.timing import Timings
from pipeline.statistics.intervals import (
    geometric_interval,
    mean_interval,
    ratio_interval,
    welch_interval,
)
from pipeline.statistics.looks import next_look


def timings(first: list[float]) -> Timings:
    return Timings(
        prompt_tokens=tuple(10 for _ in first),
        first_token_ms=tuple(first),
        token_ms=tuple(time / 10 for time in first),
        total_ms=tuple(2 * time for time in first),
    )


def measured(*rounds: list[float]) -> LatencyRounds:
    return LatencyRounds(
        rounds=tuple(Round(load_ms=1, timings={"short": timings(each)}) for each in rounds)
    )


def ruling(
    goal: dict[str, object], ours: LatencyRounds, baseline: LatencyRounds | None = None
) -> Ruling:
    found = LatencyGoal.model_validate({"metric": "first_token_ms", **goal})
    return decide(found.name, found, ours, baseline, BaseModelTimes())


def steady(processes: int = 12, over: int = 0) -> LatencyRounds:
    """Return eight times of each process just below 10 ms, of which ``over`` in all are 20 ms."""
    times = [[9.9 + (place + at / 12) / 100 for place in range(8)] for at in range(processes)]
    for at in range(over):
        times[at % processes][at // processes] = 20.0
    return measured(*times)


STEADY = steady()


def test_a_limit_is_met_where_the_samples_prove_it() -> None:
    found = ruling({"statistic": "p90", "at_most": 11}, STEADY)
    assert (found.verdict.status, found.undecided) == ("passed", False)
    assert found.verdict.value == pytest.approx(10, abs=0.03)


def test_a_limit_is_missed_where_the_samples_prove_it() -> None:
    found = ruling({"statistic": "p90", "at_most": 9}, STEADY)
    assert (found.verdict.status, found.undecided) == ("failed", False)
    assert "missed at 99% confidence by 96 samples of 12 processes" in found.verdict.detail


@pytest.mark.parametrize(("over", "state"), [(0, "met"), (1, "open"), (20, "open"), (30, "missed")])
def test_between_the_two_a_percentile_is_undecided(over: int, state: str) -> None:
    """Twelve processes of eight samples prove a p90 if none is over the limit."""
    ours = steady(over=over)
    found = ruling({"statistic": "p90", "at_most": 15}, ours)
    assert {"met": (False, "passed"), "open": (True, "failed"), "missed": (False, "failed")}[
        state
    ] == (found.undecided, found.verdict.status)
    assert found.verdict.detail.startswith("undecided: ") is (state == "open")


def test_few_samples_prove_no_tail_but_may_disprove_it() -> None:
    few = steady(processes=4)
    open_one = ruling({"statistic": "p90", "at_most": 15}, few)
    assert open_one.undecided
    assert "32 samples of 4 processes" in open_one.verdict.detail
    assert "are too few for a p90" in open_one.verdict.detail
    assert not ruling({"statistic": "p90", "at_most": 5}, few).undecided


def test_a_rate_is_held_like_its_time() -> None:
    rate = {"metric": "prompts_per_second", "statistic": "p90"}
    assert ruling({**rate, "at_least": 90}, STEADY).verdict.status == "passed"
    assert ruling({**rate, "at_least": 110}, STEADY).verdict.status == "failed"


def test_an_average_is_sure_by_its_rounds() -> None:
    uneven = measured(*([level] * 8 for level in (8.0, 12.0, 9.0, 11.0)))
    average = {"statistic": "avg"}
    assert ruling({**average, "at_most": 20}, uneven).verdict.status == "passed"
    assert ruling({**average, "at_most": 10.5}, uneven).undecided
    assert ruling({**average, "at_most": 2}, uneven).verdict.status == "failed"


def test_prompts_that_were_not_timed_leave_a_goal_open() -> None:
    found = ruling({"prompt": 1024, "at_most": 1}, STEADY)
    assert found.undecided
    assert "no prompt of 1024 tokens was timed" in found.verdict.detail


VERSUS = {"statistic": "p50", "against": "baseline", "max_degradation_percent": 5}


@pytest.mark.parametrize(
    ("factor", "noise", "status", "undecided"),
    [
        (1.0, 0.01, "passed", False),
        (1.1, 0.01, "failed", False),
        (0.8, 0.01, "passed", False),
        (1.0, 0.2, "failed", True),
    ],
)
def test_a_baseline_is_compared_round_by_round(
    factor: float, noise: float, status: str, undecided: bool
) -> None:
    """Each round has a load of its own that slows both: only their ratio counts."""
    chance = random.Random(3)  # noqa: S311 - a simulation
    ours, theirs = [], []
    for _ in range(8):
        load = chance.uniform(1, 3)
        ours.append([10 * factor * load * chance.gauss(1, noise) for _ in range(8)])
        theirs.append([10 * load * chance.gauss(1, noise) for _ in range(8)])
    found = ruling(VERSUS, measured(*ours), measured(*theirs))
    assert (found.verdict.status, found.undecided) == (status, undecided), found.verdict.detail
    assert "% against the baseline" in found.verdict.detail


def test_who_looks_again_and_again_is_wrong_no_more_often() -> None:
    """With the limit at the true p90, hardly any run of looks ends with a verdict. At 99 % at each
    look, as if samples were independent, three in ten did."""
    chance = random.Random(5)  # noqa: S311 - a simulation
    between, within = 0.33**0.5, 0.67**0.5
    limit = math.exp(NormalDist().inv_cdf(0.9))
    wrong = 0
    for _ in range(60):
        rounds: list[list[float]] = []
        processes = 12
        for look in range(1, 6):
            while len(rounds) < processes:
                level = chance.gauss(0, between)
                rounds.append([math.exp(level + chance.gauss(0, within)) for _ in range(20)])
            goal = LatencyGoal(metric="first_token_ms", statistic="p90", at_most=limit)
            found = decide("p90", goal, measured(*rounds), None, BaseModelTimes(), look)
            if not found.undecided:
                wrong += 1
                break
            processes = next_look(processes)
    assert wrong <= 4, "2 % of 60, and what chance adds"


@pytest.mark.parametrize("interval", [mean_interval, geometric_interval])
def test_an_interval_covers_as_often_as_it_says(
    interval: Callable[[list[float]], tuple[float, float, float]],
) -> None:
    chance = random.Random(1)  # noqa: S311 - a simulation
    hits = 0
    for _ in range(1000):
        _, low, high = interval([chance.gauss(100, 5) for _ in range(8)])
        hits += low <= 100 <= high
    assert 0.92 < hits / 1000 < 0.98


def test_one_round_says_nothing_about_how_sure_it_is() -> None:
    value, low, high = mean_interval([3.0])
    assert (value, low, high) == (3.0, float("-inf"), float("inf"))
    assert welch_interval([1.0], [2.0, 2.0]).high == float("inf")
    with pytest.raises(ValueError, match="no values"):
        mean_interval([])


def test_ratios_of_pairs_and_of_groups() -> None:
    load = [1.0, 2.0, 3.0, 4.0]
    paired = ratio_interval([1.1 * each for each in load], load)
    assert paired == pytest.approx((1.1, 1.1, 1.1))
    apart = welch_interval([1.1 * each for each in load], load)
    assert apart.low < 1 < apart.high, "apart, the load hides it"
    assert welch_interval([2.0, 2.0], [1.0, 1.0]) == pytest.approx((2, 2, 2))
