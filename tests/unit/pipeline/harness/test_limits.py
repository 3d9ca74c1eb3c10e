"""Limits of what tasks score: noise fails no build, and what is worse than noise does."""

from __future__ import annotations

import math
import statistics
from typing import Any

import pytest

from pipeline.contract.errors import StepError
from pipeline.harness.limits import loss_verdicts, worst_verdicts
from pipeline.harness.params import LmEvalParams
from pipeline.harness.results import TaskFigure, TaskResults

ROWS = (1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 0.0, 1.0)
"""Right are 8 of 10."""


def results(*figures: TaskFigure) -> TaskResults:
    return TaskResults(figures=figures, lm_eval="0")


def figure(value: float, metric: str = "acc", **fields: Any) -> TaskFigure:
    return TaskFigure(task="mine", metric=metric, value=value, **fields)


def scored(rows: tuple[float, ...], of_rows: str = "same") -> TaskResults:
    return results(figure(statistics.mean(rows), rows=rows, of_rows=of_rows))


def lost(ours: TaskResults, theirs: TaskResults, limit: float, errors: float = 2) -> Any:
    (verdict,) = loss_verdicts(ours, theirs, "float", limit, errors)
    return verdict


def test_a_loss_is_held_against_the_noise_of_its_rows() -> None:
    worse = (*ROWS[:2], 0.0, 0.0, *ROWS[4:])
    verdict = lost(scored(worse), scored(ROWS), 0.02)
    assert verdict.name == "loss_to_float_mine.acc"
    assert verdict.value == pytest.approx(0.2)
    # Of the ten differences, two are 1: their standard deviation is sqrt(10 / 9 * 0.2 * 0.8).
    error = math.sqrt(10 / 9 * 0.2 * 0.8 / 10)
    assert verdict.limit == pytest.approx(0.02 + 2 * error)
    assert verdict.status == "passed"
    assert lost(scored(worse), scored(ROWS), 0.02, errors=0).status == "failed"


def test_a_loss_beyond_noise_fails() -> None:
    verdict = lost(scored((0.0,) * 6 + ROWS[6:]), scored(ROWS), 0.02)
    assert (verdict.status, verdict.value) == ("failed", pytest.approx(0.5))
    assert "0.3, of the float model 0.8" in verdict.detail


def test_what_both_models_get_wrong_is_no_noise_of_their_difference() -> None:
    verdict = lost(scored(ROWS), scored(ROWS), 0.02)
    assert (verdict.value, verdict.limit) == (0, 0.02)


def test_without_rows_the_two_errors_are_added_as_squares() -> None:
    ours, theirs = (results(figure(value, stderr=0.03)) for value in (0.5, 0.6))
    verdict = lost(ours, theirs, 0.01)
    assert verdict.limit == pytest.approx(0.01 + 2 * math.sqrt(2 * 0.03**2))
    assert lost(results(figure(0.5)), theirs, 0.01).limit == 0.01


@pytest.mark.parametrize(
    ("ours", "theirs", "better", "loss"),
    [(11.0, 10.0, False, 0.1), (9.0, 10.0, False, -0.1), (36.0, 45.0, True, 0.25)],
)
def test_figures_that_are_no_shares_are_compared_by_their_ratio(
    ours: float, theirs: float, better: bool, loss: float
) -> None:
    one, other = (
        results(figure(value, "score", higher_is_better=better, stderr=value / 100))
        for value in (ours, theirs)
    )
    verdict = lost(one, other, 0.05)
    assert verdict.value == pytest.approx(loss)
    # Each is uncertain by a hundredth of itself.
    assert verdict.limit == pytest.approx(1.05 * math.exp(2 * math.sqrt(2) / 100) - 1)


def test_a_ruined_perplexity_is_not_excused_by_its_own_error() -> None:
    ruined = results(figure(9e9, "perplexity", higher_is_better=False, stderr=8e9))
    good = results(figure(1.2, "perplexity", higher_is_better=False, stderr=0.1))
    assert lost(ruined, good, 0.02).status == "failed"


def test_models_that_were_asked_other_rows_are_not_compared() -> None:
    with pytest.raises(StepError, match="not asked the same rows"):
        lost(scored(ROWS, "others"), scored(ROWS), 0.02)


def test_no_number_never_passes() -> None:
    assert lost(results(figure(math.nan)), results(figure(0.5)), 1.0).status == "failed"


def test_no_limit_is_no_verdict() -> None:
    assert not list(loss_verdicts(scored(ROWS), scored(ROWS), "base", None, 2))


def worst(limits: dict[str, float], *figures: TaskFigure) -> list[Any]:
    params = LmEvalParams(tasks=("mine",), worst=limits)
    return list(worst_verdicts(results(*figures), params))


def test_a_figure_may_be_as_bad_as_it_may_be_but_for_noise() -> None:
    (fine,) = worst({"mine": 0.6}, figure(0.55, stderr=0.03))
    assert (fine.status, fine.limit) == ("passed", pytest.approx(0.54))
    (bad,) = worst({"mine.acc": 0.6}, figure(0.5, stderr=0.03))
    assert (bad.name, bad.status) == ("worst_mine.acc", "failed")
    (large,) = worst({"mine": 10}, figure(12, "word_perplexity", higher_is_better=False))
    assert (large.status, large.relation) == ("failed", "<=")


def test_a_limit_of_what_is_not_measured_is_refused() -> None:
    several = (figure(0.5), figure(0.5, "acc_norm"))
    with pytest.raises(StepError, match="several figures") as error:
        worst({"mine": 0.5}, *several)
    assert error.value.hint == "name one of mine.acc, mine.acc_norm"
    with pytest.raises(StepError, match=r"no task has a figure mine\.acc_norn") as error:
        worst({"mine.acc_norn": 0.5}, *several)
    assert "mine.acc_norm" in error.value.hint


@pytest.mark.parametrize(("limit", "kept"), [(0.5, 0.5), (7, 7), (7.0, 7), (None, None)])
def test_a_limit_is_a_share_or_a_number_of_rows(limit: float | None, kept: float | None) -> None:
    assert LmEvalParams(tasks=("mine",), limit=limit).limit == kept
    with pytest.raises(ValueError, match="a number of rows, or a share below 1"):
        LmEvalParams(tasks=("mine",), limit=1.5)
