"""Which of the finalists is the best, and which are best for some use, in any order."""

from __future__ import annotations

from itertools import permutations

import pytest

from pipeline.tuning.front import cheapest_of, front_of
from pipeline.tuning.ties import best_of
from pipeline.tuning.trials import Speed, Trial


def final(token_ms: float, cost: float | None, size: int | None = None) -> Trial:
    speed = Speed(
        prompt_ms=1, token_ms=token_ms, answer_ms=1, prompt_tokens_per_second=1, tokens_per_second=1
    )
    return Trial(
        stage="final",
        layers=2,
        built={},
        session={},
        status="measured",
        speed=speed,
        cost=cost,
        bytes=size,
    )


def token_ms(trial: Trial) -> float:
    assert trial.speed is not None
    return trial.speed.token_ms


@pytest.mark.parametrize(
    ("trials", "chosen"),
    [
        # Each within 2 % of the one before, but only the second within 2 % of the fastest.
        ([(100, 0.3), (101.9, 0.2), (103.8, 0.1)], 101.9),
        ([(100, 0.1), (101.9, 0.2), (103.8, 0.3)], 100),
        ([(100, 0.2), (100.5, 0.2), (101, 0.2)], 100),
        ([(100, 0.2), (102.5, 0.1)], 100),
        ([(100, 0.2), (102, 0.1)], 102),
        ([(100, None), (101, 0.1)], 100),
        ([(100, 0.2), (101, None)], 100),
        ([(50, 0.9)], 50),
    ],
)
def test_the_choice_is_the_same_in_any_order(
    trials: list[tuple[float, float | None]], chosen: float
) -> None:
    finals = [final(*one) for one in trials]
    found = {token_ms(best_of(order, token_ms, tie=0.02)) for order in permutations(finals)}
    assert found == {chosen}


SMALL, FAST, CLOSE = final(30, 0.4, 100), final(20, 0.3, 120), final(40, 0.1, 150)
BEATEN = final(35, 0.4, 101)
"""Larger and slower than the small one, and no closer."""


def test_what_nothing_beats_is_on_the_front() -> None:
    every = [BEATEN, CLOSE, FAST, SMALL]
    assert [every[place] for place in front_of(every)] == [SMALL, FAST, CLOSE]
    for order in permutations(every):
        assert [order[place] for place in front_of(order)] == [SMALL, FAST, CLOSE]


def test_what_is_fast_and_wrong_is_on_no_front() -> None:
    wrong = final(1, 0.0, 1)
    for status in ("beyond", "failed", "within"):
        every = [wrong.model_copy(update={"status": status}), SMALL]
        assert front_of(every) == (1,)
    assert front_of([wrong, SMALL]) == (0,)
    # Of a model cut to a few layers nothing is known but its time.
    assert front_of([wrong.model_copy(update={"stage": "build"}), SMALL]) == (1,)


def test_equal_ones_are_both_on_it_and_what_is_unknown_beats_nothing() -> None:
    assert front_of([SMALL, SMALL]) == (0, 1)
    unknown = final(10, None, 90)
    assert front_of([SMALL, unknown]) == (1, 0)
    assert front_of([final(31, None, 100), SMALL]) == (1,)
    assert front_of([]) == ()


def test_the_cheapest_are_those_as_small_as_the_smallest() -> None:
    every = [FAST, BEATEN, SMALL]
    assert cheapest_of(every, 0.02) == [BEATEN, SMALL]
    assert cheapest_of(every, 0.0) == [SMALL]
    assert best_of(cheapest_of([final(30, 0.1, 100), final(20, 0.3, 101)], 0.02), token_ms, 0) == (
        final(20, 0.3, 101)
    )
