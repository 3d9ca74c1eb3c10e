"""When samples prove a limit met or missed, and when they leave it open."""

from __future__ import annotations

import random
from collections.abc import Callable

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
from pipeline.statistics.percentiles import bound, lower_bound


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


STEADY = measured(*([10.0] * 8 for _ in range(8)))


def test_a_limit_is_met_where_the_samples_prove_it() -> None:
    found = ruling({"statistic": "p90", "at_most": 11}, STEADY)
    assert (found.verdict.status, found.undecided, found.verdict.value) == ("passed", False, 10)


def test_a_limit_is_missed_where_the_samples_prove_it() -> None:
    found = ruling({"statistic": "p90", "at_most": 9}, STEADY)
    assert (found.verdict.status, found.undecided) == ("failed", False)
    assert "missed at 99% confidence by 64 samples" in found.verdict.detail


@pytest.mark.parametrize(
    ("over", "state"), [(0, "met"), (1, "met"), (2, "open"), (12, "open"), (13, "missed")]
)
def test_between_the_two_a_percentile_is_undecided(over: int, state: str) -> None:
    """Of 64 samples one may lie over the limit (MLPerf's rule); 13 are too many by chance."""
    ours = measured([20.0] * over + [10.0] * (64 - over))
    found = ruling({"statistic": "p90", "at_most": 15}, ours)
    assert {"met": (False, "passed"), "open": (True, "failed"), "missed": (False, "failed")}[
        state
    ] == (found.undecided, found.verdict.status)
    assert found.verdict.detail.startswith("undecided: ") is (state == "open")


def test_few_samples_prove_no_tail_but_may_disprove_it() -> None:
    few = measured([10.0] * 10)
    open_one = ruling({"statistic": "p90", "at_most": 15}, few)
    assert open_one.undecided
    assert "10 samples are too few for a p90" in open_one.verdict.detail
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


def test_bounds_hold_the_percentile_between_them() -> None:
    """Each bound is wrong in at most one of a hundred draws; both together in two."""
    chance = random.Random(0)  # noqa: S311 - a simulation
    wrong = 0
    for _ in range(2000):
        draw = [chance.random() for _ in range(100)]
        low, high = lower_bound(draw, 0.9), bound(draw, 0.9)
        assert low is not None
        assert high is not None
        wrong += not low <= 0.9 <= high
    assert wrong / 2000 < 0.03
    assert lower_bound([1.0], 0.5) is None


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
