"""What is read of lm-eval's results. The table is laid out as that library returned it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from pipeline.harness.results import TaskResults, read_results


def row(number: int, score: Any, filtered: str = "none", metric: str = "acc") -> dict[str, Any]:
    return {
        "doc_id": number,
        "doc_hash": f"d{number}",
        "target_hash": f"t{number}",
        "filter": filtered,
        metric: score,
    }


def table(**figures: Any) -> dict[str, Any]:
    return {"alias": "x", "name": "x", "sample_len": 2} | figures


RAW: dict[str, Any] = {
    "results": {
        "mine": table(**{"acc,none": 0.5, "acc_stderr,none": 0.5}),
        "sums": table(**{"exact_match,strict": 1.0, "exact_match_stderr,strict": "N/A"}),
        "ppl": table(**{"word_perplexity,none": 8.0, "word_perplexity_stderr,none": 0.25}),
    },
    "higher_is_better": {"mine": {"acc": True}, "ppl": {"word_perplexity": False}},
    "samples": {
        "mine": [row(1, 0.0), row(0, 1.0)],
        "sums": [row(0, 1.0, "strict", "exact_match"), row(0, 0.0, "loose", "exact_match")],
        "ppl": [row(0, (-3.0, 2), metric="word_perplexity")],
    },
    "group_subtasks": {"mine": []},
}


def test_every_figure_is_read_with_what_its_rows_scored(tmp_path: Path) -> None:
    found = read_results(RAW, "0.4.13")
    acc, match, perplexity = found.figures
    assert (acc.name, acc.value, acc.stderr, acc.rows) == ("mine.acc", 0.5, 0.5, (1.0, 0.0))
    assert (match.name, match.stderr, match.rows) == ("sums.exact_match.strict", None, (1.0,))
    assert (perplexity.higher_is_better, perplexity.rows) == (False, ())
    found.save(tmp_path)
    assert TaskResults.load(tmp_path) == found


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_figure_that_is_no_number_is_kept(value: float, tmp_path: Path) -> None:
    ruined = {"ppl": table(**{"word_perplexity,none": value})}
    found = read_results({"results": ruined}, "0")
    found.save(tmp_path)
    (kept,) = TaskResults.load(tmp_path).figures
    assert str(kept.value) == str(value)
    assert found.values() == {
        "ppl.word_perplexity": {"value": str(value), "stderr": None, "rows": None}
    }


def test_rows_are_known_by_what_was_asked_and_is_right() -> None:
    (acc, *_) = read_results(RAW, "0").figures
    other = {**RAW, "samples": {**RAW["samples"], "mine": [row(1, 1.0), row(0, 0.0)]}}
    assert read_results(other, "0").figures[0].of_rows == acc.of_rows
    changed = {**row(0, 1.0), "target_hash": "swapped"}
    swapped = {**RAW, "samples": {**RAW["samples"], "mine": [row(1, 0.0), changed]}}
    assert read_results(swapped, "0").figures[0].of_rows != acc.of_rows


def test_of_a_group_with_a_figure_its_tasks_are_not_read() -> None:
    tables = {**RAW["results"], "all": table(**{"acc,none": 0.5, "acc_stderr,none": 0.1})}
    raw = {**RAW, "results": tables, "groups": {"all": tables["all"]}}
    raw["group_subtasks"] = {"all": ["part"], "part": ["mine"], "listed": ["ppl"]}
    names = [figure.name for figure in read_results(raw, "0").figures]
    assert names == ["sums.exact_match.strict", "ppl.word_perplexity", "all.acc"]


@pytest.mark.parametrize("score", [0.9, "right", (1, 2)])
def test_scores_whose_mean_is_not_the_figure_are_not_compared_row_by_row(score: Any) -> None:
    raw = {**RAW, "samples": {"mine": [row(0, score), row(1, 0.0)]}}
    assert read_results(raw, "0").figures[0].rows == ()
