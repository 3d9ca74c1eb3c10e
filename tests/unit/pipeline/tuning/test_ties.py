"""Of finalists that are equally fast, the closest to the float model is chosen, in any order."""

from __future__ import annotations

from itertools import permutations

import pytest

from pipeline.tuning.ties import best_of
from pipeline.tuning.trials import Speed, Trial


def final(token_ms: float, cost: float | None) -> Trial:
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
