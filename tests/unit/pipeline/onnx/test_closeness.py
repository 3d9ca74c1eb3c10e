"""Figures about logits, matrices and tables, on arrays small enough to know the answer."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipeline.checks.merging import change_of
from pipeline.onnx.closeness import by_length, closeness, predicted_share
from pipeline.onnx.reference import LONG, ReferenceRow
from pipeline.onnx.rotary import GraphTable, RotaryTable, sampled_positions, table_error


def test_what_is_added_to_all_logits_does_not_count() -> None:
    wanted = np.array([[1.0, 2.0, 4.0], [0.0, 3.0, -1.0]])
    found = closeness([(wanted + 7, wanted)])
    assert found is not None
    assert (found.error, found.max_error, found.mean_kl) == pytest.approx((0, 0, 0), abs=1e-12)
    assert (found.agreement, found.positions) == (1, 2)


def test_divergence_is_in_nats_and_from_the_wanted_model() -> None:
    wanted, found = np.log([[0.5, 0.5]]), np.log([[0.9, 0.1]])
    figures = closeness([(found, wanted)])
    assert figures is not None
    expected = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)
    assert figures.mean_kl == pytest.approx(expected)
    # Of three positions, one is as far off.
    figures = closeness([(found, wanted), (wanted, wanted), (wanted, wanted)])
    assert figures is not None
    assert (figures.mean_kl, figures.median_kl) == pytest.approx((expected / 3, 0))


def test_rows_left_out_of_the_vocabulary_and_numbers_that_are_none() -> None:
    wanted = np.array([[1.0, 2.0, 4.0, 0.0]])
    shorter = closeness([(wanted[:, :3], wanted)])
    assert shorter is not None
    assert shorter.error == pytest.approx(0)
    broken = closeness([(wanted * np.nan, wanted)])
    assert broken is not None
    assert all(map(math.isnan, (broken.error, broken.mean_kl, broken.p99_kl)))
    assert closeness([]) is None


def test_long_texts_are_judged_by_themselves() -> None:
    logits = np.array([[1.0, 2.0]])
    rows = [ReferenceRow((1, 2), logits), ReferenceRow((1,) * (LONG + 1), logits)]
    usual, long = by_length([logits, -logits], rows)
    assert usual is not None
    assert long is not None
    assert (usual.agreement, long.agreement) == (1, 0)


def test_how_much_of_its_text_a_model_predicts() -> None:
    # The logits after the last three of four tokens; nothing comes after the last one.
    logits = np.log([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.9, 0.05, 0.05]])
    row = ReferenceRow((0, 2, 1, 2), logits + 5)
    assert predicted_share([row]) == pytest.approx((0.3 + 0.8) / 2)
    assert predicted_share([row, row]) == pytest.approx((0.3 + 0.8) / 2)
    assert predicted_share([ReferenceRow((1,), logits[:1])]) == 0
    assert predicted_share([]) == 0


@pytest.mark.parametrize(("times", "said"), [(0, "not merged"), (1, "1.00 times"), (2, "twice")])
def test_how_often_an_adapter_was_merged(times: int, said: str) -> None:
    random = np.random.default_rng(0)
    base, step = random.normal(size=(8, 50)), random.normal(size=(8, 50))
    found = change_of([base + times * step], [base + step], [base])
    assert found.share == pytest.approx(times)
    assert said in found.verdict


def test_an_adapter_that_does_nothing_has_no_share() -> None:
    base = np.ones((2, 3)) * [1, 2, 3]
    found = change_of([base], [base], [base])
    assert math.isnan(found.share)
    assert (found.error, found.change) == (0, 0)


def table(length: int, speed: float = 1.0) -> RotaryTable:
    positions = sampled_positions(length)
    angles = np.outer(positions, [speed, speed / 10])
    return RotaryTable(length, positions, np.cos(angles), np.sin(angles))


def in_graph(length: int, speed: float = 1.0) -> GraphTable:
    angles = np.outer(np.arange(length), [speed, speed / 10])
    return GraphTable("cos_cache", np.cos(angles), np.sin(angles))


def test_a_table_wrong_past_2048_is_found_there() -> None:
    good = in_graph(4096)
    assert table_error([good], [table(4096)])[0] < 1e-6
    again = GraphTable(
        "cos_cache", *(np.concatenate([part[:2048]] * 2) for part in (good.cos, good.sin))
    )
    error, place = table_error([again], [table(4096)])
    assert error > 1
    assert int(place.split(" position ")[1].split()[0]) >= 2048
    assert table_error([in_graph(2048)], [table(4096)])[0] == math.inf
    assert table_error([], [table(4096)])[0] == math.inf


def test_both_tables_of_a_longrope_model_apart_or_as_one() -> None:
    short, long = in_graph(4096), in_graph(8192, 0.5)
    wanted = [table(4096), table(8192, 0.5)]
    joined = GraphTable(
        "cos_cache",
        np.concatenate([short.cos, long.cos]),
        np.concatenate([short.sin, long.sin]),
    )
    for found in ([short, long], [long, short], [joined]):
        assert table_error(found, wanted)[0] < 1e-6
    assert table_error([in_graph(4096, 0.5), long], wanted)[0] > 0.5
