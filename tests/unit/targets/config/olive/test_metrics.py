"""What becomes of the evaluators of Olive files: checks and their goals."""

from __future__ import annotations

from targets.config.olive.ledger import State
from tests.support.olive_files import document, read_olive_file, refusals, state, translated


def test_metrics_with_goals_become_checks() -> None:
    checks = document(read_olive_file("flat.json"))["checks"]
    assert checks["quality"]["goals"] == [
        {"metric": "perplexity", "max_degradation": 50},
        {"metric": "macro_f1", "at_least": 0},
    ]
    assert checks["latency"]["goals"] == [
        {"metric": "first_token_ms", "statistic": "avg", "at_most": 10000},
        {"metric": "first_token_ms", "statistic": "p90", "min_improvement_percent": 1},
        {"metric": "prompts_per_second", "statistic": "avg", "at_least": 0.001},
    ]
    assert checks["latency"]["prompt_tokens"] == [16]
    assert (checks["latency"]["warmup"], checks["latency"]["samples"]) == (2, 64)
    assert checks["size"]["goals"] == [{"metric": "bytes", "min_improvement_percent": 5}]


def test_a_goal_of_another_kind_is_refused() -> None:
    raw = read_olive_file("flat.json")
    raw["evaluators"]["judge"]["metrics"][0]["sub_types"][0]["goal"]["type"] = "min-improvment"
    (reason,) = refusals(raw).values()
    assert "did you mean 'min-improvement'?" in reason


def test_checks_of_ones_own_keep_their_parameters() -> None:
    raw = read_olive_file("flat.json")
    raw["evaluators"]["judge"]["metrics"] = [
        {"name": "polite", "type": "checks/mine.py:Polite", "user_config": {"words": ["fool"]}}
    ]
    polite = document(raw)["checks"]["polite"]
    assert polite == {"type": "checks/mine.py:Polite", "words": ["fool"]}


def test_the_evaluator_of_the_last_pass_measures_the_artifact() -> None:
    raw = read_olive_file("flat.json")
    names = list(raw["passes"])
    metric = {"name": "t", "type": "latency", "sub_types": [{"name": "max"}]}
    raw["evaluators"] |= {name: {"metrics": [metric]} for name in ("between", "whole")}
    raw["passes"][names[0]]["evaluator"] = "between"
    raw["evaluator"] = "whole"
    raw["passes"][names[-1]]["evaluator"] = "judge"
    found = translated(raw)
    assert not found.ledger.refusals
    assert "quality" in found.flows[0].document["checks"]
    for name in ("between", "whole"):
        place = ("evaluators", name, "metrics", 0, "sub_types", 0, "name")
        assert state(found, *place)[0] is State.NO_EFFECT


def test_an_average_that_is_not_computed_is_refused() -> None:
    raw = read_olive_file("flat.json")
    figure = raw["evaluators"]["judge"]["metrics"][0]["sub_types"][1]
    figure["metric_config"] = {"average": "micro"}
    (key,) = refusals(raw)
    assert key.endswith("metric_config.average")
    figure["metric_config"] = {"average": "macro", "num_classes": 3}
    assert not refusals(raw)


def test_a_direction_that_is_not_the_figures_is_refused() -> None:
    raw = read_olive_file("flat.json")
    raw["evaluators"]["judge"]["metrics"][0]["sub_types"][0]["higher_is_better"] = True
    (key,) = refusals(raw)
    assert key.endswith("higher_is_better")
