"""Goals of a check's figures: what may be asked, and when it is met."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.checks.generation import Check as Generation
from pipeline.checks.generation import GenerationParams
from pipeline.checks.latency import Check as Latency
from pipeline.checks.latency import LatencyParams
from pipeline.checks.memory import MemoryParams
from pipeline.checks.quality import Check as Quality
from pipeline.checks.quality import QualityParams
from pipeline.checks.script import ScriptParams
from pipeline.checks.size import Check as Size
from pipeline.checks.size import SizeParams
from pipeline.contract.data_spec import DataSpec
from pipeline.contract.errors import StepError
from pipeline.contract.frozen import Frozen
from pipeline.evaluation.fluency import is_broken
from pipeline.latency.goals import LatencyGoal
from pipeline.latency.timing import FIGURES, Timings, Workload, measure, summary, synthetic_prompt
from pipeline.passes.time_base import weights_bytes
from pipeline.scripts.load import find_object, load_script
from pipeline.statistics.percentiles import samples_for, statistic
from pipeline.verdicts.goals import Goal, goal_verdict

TIMES = [float(n) for n in range(1, 101)]


@pytest.mark.parametrize(
    ("limit", "higher", "relation", "at"),
    [
        ({"at_most": 5}, False, "<=", 5),
        ({"at_least": 5}, False, ">=", 5),
        ({"min_improvement": 10}, False, "<=", 190),
        ({"min_improvement": 10}, True, ">=", 210),
        ({"min_improvement_percent": 10}, False, "<=", 180),
        ({"max_degradation": 10}, True, ">=", 190),
        ({"max_degradation_percent": 10}, False, "<=", 220),
    ],
)
def test_a_goal_is_a_limit(limit: dict[str, float], higher: bool, relation: str, at: float) -> None:
    goal = Goal.model_validate({"metric": "x", **limit})
    assert goal.limit(higher, 200) == (relation, at)
    met = goal_verdict(goal, at, higher, 200)
    assert (met.status, met.limit, met.relation) == ("passed", at, relation)
    beyond = at + (0.1 if relation == "<=" else -0.1)
    assert goal_verdict(goal, beyond, higher, 200).status == "failed"


def test_without_the_base_models_figure_a_relative_goal_is_unverified() -> None:
    goal = Goal(metric="x", min_improvement=1)
    assert goal_verdict(goal, 1, True).status == "unverified"
    assert "the base model: 3" in goal_verdict(goal, 5, True, 3).detail


def test_statistics() -> None:
    found = {name: statistic(TIMES, name) for name in ("avg", "min", "max", "p75", "p95", "p99")}
    assert found == {"avg": 50.5, "min": 1, "max": 100, "p75": 75, "p95": 95, "p99": 99}
    assert statistic(TIMES, "p999") == 100


@pytest.mark.parametrize(("share", "count"), [(0.9, 64), (0.95, 130), (0.99, 662), (0.999, 6636)])
def test_samples_are_as_many_as_mlperf_asks_for(share: float, count: int) -> None:
    assert samples_for(share) == count


def test_a_rate_mirrors_its_time() -> None:
    times = Timings(
        prompt_tokens=(1, 2, 5), first_token_ms=(10, 20, 50), token_ms=(2, 4), total_ms=(1,)
    )
    rate = FIGURES["prompts_per_second"]
    assert rate.value(times, "min") == 1000 / 50
    assert rate.value(times, "max") == 1000 / 10
    assert rate.value(times, "avg") == pytest.approx(1000 / (80 / 3))
    assert rate.value(times, "p90") == 1000 / 50, "nine of ten are at least so fast"
    assert FIGURES["prompt_tokens_per_second"].samples(times) == (10, 10, 10), "ms per token"
    assert summary(times)["tokens_per_second"]["avg"] == pytest.approx(1000 / 3, abs=1e-4)


@pytest.mark.parametrize(
    ("metric", "statistic", "prompts"),
    [
        ("first_token_ms", "p90", 96),
        ("first_token_ms", "max", 96),
        ("total_ms", "p99", 662),
        ("prompts_per_second", "p95", 130),
        ("token_ms", "p99", 96),
        ("tokens_per_second", "p999", 443),
    ],
)
def test_a_goal_gets_the_samples_it_needs(metric: str, statistic: str, prompts: int) -> None:
    goals = [{"metric": metric, "statistic": statistic, "at_most": 9}]
    assert LatencyParams.model_validate({"goals": goals}).prompt_count() == prompts


def test_a_latency_goal_is_of_the_p90_unless_told() -> None:
    params = LatencyParams.model_validate({"goals": [{"metric": "token_ms", "at_most": 9}]})
    assert [name for name, _ in params.limits()] == ["token_ms_p90"]


class Silent:
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def progress(self, done: int, total: int, unit: str = "steps", **metrics: float) -> None: ...

    def warn(self, message: str) -> None:
        self.warnings.append(message)

    def note(self, message: str) -> None: ...

    def text(self, text: str) -> None: ...


def counting(_: Sequence[int], count: int) -> Iterator[int]:
    return iter(range(count))


def test_every_answer_is_timed_as_often() -> None:
    report = Silent()
    work = Workload(max_new_tokens=4, warmup=1)
    found = measure(counting, [[1], [1, 2]], work, 3, 60, report)
    assert found.prompt_tokens == (1, 2, 1)
    assert (len(found.first_token_ms), len(found.token_ms), len(found.total_ms)) == (3, 9, 3)
    assert found.total_ms[0] == pytest.approx(found.first_token_ms[0] + sum(found.token_ms[:3]))
    assert not report.warnings


def test_measuring_stops_in_time_and_says_so() -> None:
    report = Silent()
    assert len(measure(counting, [[1]], Workload(), 3, 1e-9, report).total_ms) == 1
    assert "1 of 3 prompts timed" in report.warnings[0]


def test_timings_come_back_from_the_file(tmp_path: Path) -> None:
    timings = Timings(prompt_tokens=(3,), first_token_ms=(1.5,), token_ms=(0.1,), total_ms=(1.6,))
    timings.save(tmp_path)
    assert Timings.load(tmp_path) == timings


class Vocabulary:
    all_special_ids = (0, 1)
    added_tokens_decoder = (2,)

    def get_vocab(self) -> dict[str, int]:
        return {str(token): token for token in range(50)}


def test_made_up_prompts_have_no_special_token_and_are_always_the_same() -> None:
    ids = synthetic_prompt(Vocabulary(), 100)
    assert len(ids) == 100
    assert set(ids) <= set(range(3, 50))
    assert len(set(ids[:40])) == 40
    assert synthetic_prompt(Vocabulary(), 100) == ids


RELATIVE = ({"metric": "bytes", "max_degradation": 1},)
LIMIT = {"at_most": 1}
VERSUS = {"max_degradation": 1, "against": "baseline"}


@pytest.mark.parametrize(
    ("model", "params", "message"),
    [
        (LatencyParams, {"goals": [{"metric": "token_s", **LIMIT}]}, "did you mean 'token_ms'"),
        (LatencyParams, {"goals": [{"metric": "token_ms"}]}, "exactly one of at_most"),
        (LatencyParams, {"goals": [{"metric": "token_ms", **LIMIT}] * 2}, "token_ms_p90"),
        (LatencyParams, {"prompts": ["a"], "prompt_tokens": [3]}, "not both"),
        (LatencyParams, {"prompt_tokens": [0]}, "greater than or equal to 1"),
        (LatencyParams, {"prompt_tokens": []}, "at least 1"),
        (LatencyParams, {"max_regression_percent": 3}, "needs a baseline"),
        (LatencyParams, {"goals": [{"metric": "token_ms", **VERSUS}]}, "give baseline"),
        (LatencyParams, {"goals": [{"metric": "token_ms", "prompt": "long", **LIMIT}]}, "short"),
        (LatencyParams, {"cpus": []}, "at least 1"),
        (LatencyParams, {"rounds": 2}, "greater than or equal to 3"),
        (MemoryParams, {"goals": [RELATIVE[0]]}, "the base model is not measured"),
        (QualityParams, {"goals": [{"metric": "accuracy", **VERSUS}]}, "has no baseline"),
        (SizeParams, {"max_bytes": "3 apples"}, "is not a size"),
        (SizeParams, {"max_bytes": 3, "goals": [{"metric": "bytes", **LIMIT}]}, "give one"),
        (SizeParams, {"goals": [{"metric": "bytes", "statistic": "p90", **LIMIT}]}, "one figure"),
        (QualityParams, {"goals": [{"metric": "macrof1", **LIMIT}]}, "did you mean 'macro_f1'"),
        (
            QualityParams,
            {"min_accuracy": 0.9, "goals": [{"metric": "accuracy", **LIMIT}]},
            "give one",
        ),
        (GenerationParams, {"min_ended": "as_base"}, "as_tuned"),
        (ScriptParams, {"script": "x.py"}, "exactly one of metric and evaluate"),
        (ScriptParams, {"script": "x.py", "metric": "a", "evaluate": "b"}, "exactly one"),
        (
            ScriptParams,
            {"script": "x.py", "evaluate": "a", "post_process": "b"},
            "goes with metric",
        ),
        (
            ScriptParams,
            {"script": "x.py", "metric": "a", "goals": RELATIVE},
            "not the base model .* give at_most or at_least",
        ),
    ],
)
def test_what_cannot_be_asked_is_refused(
    model: type[Frozen], params: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        model.model_validate(params)


def test_classes_need_a_label() -> None:
    params = QualityParams(goals=(Goal(metric="recall", at_least=1),))
    spec = {"path": "x.jsonl", "prompt": "{a}", "completion": "{b}"}
    (problem,) = params.problems_with(DataSpec.model_validate(spec))
    assert "recall needs a data set with a label" in problem
    assert not params.problems_with(DataSpec.model_validate({**spec, "label": "b"}))


def test_a_size_may_be_text() -> None:
    assert SizeParams(max_bytes="1.5 MiB").limits()[0].at_most == 1.5 * 1024**2
    assert SizeParams(max_bytes=7).limits()[0].at_most == 7
    assert SizeParams().limits() == ()


def test_a_check_needs_the_base_model_only_to_compare_with_it() -> None:
    faster = LatencyGoal(metric="token_ms", min_improvement=1)
    params = LatencyParams(goals=(faster,), prompt_tokens=(5,), warmup=1)
    assert Latency.needs_of(LatencyParams()) == ("artifact",)
    assert Latency.needs_of(params) == ("artifact", "base_timing")
    other = faster.model_copy(update={"against": "baseline"})
    assert Latency.needs_of(LatencyParams(goals=(other,), baseline="x")) == ("artifact",)
    work = Latency.own_pass_of(params, "base_timing")
    assert work == {"prompts": None, "prompt_tokens": [5], "warmup": 1, "max_new_tokens": 16}
    smaller = SizeParams(goals=(Goal(metric="bytes", min_improvement_percent=50),))
    assert Size.needs_of(SizeParams()) == ("artifact",)
    assert Size.needs_of(smaller) == ("artifact", "base_timing")
    assert Size.own_pass_of(smaller, "base_timing") == {"samples": 0}


def test_a_check_reads_what_its_parameters_and_the_artifact_need() -> None:
    assert Generation.needs_of(GenerationParams()) == ("artifact",)
    lenient = GenerationParams(max_degenerate="as_tuned")
    assert Generation.needs_of(lenient) == ("artifact", "tuned_answers")
    assert "artifact" in Quality.needs_of(QualityParams())
    assert Quality.needs_of(QualityParams(), "adapter") == ("base_answers", "tuned_answers")


@pytest.mark.parametrize(
    ("text", "expected", "ended", "broken"),
    [
        (" \n", "x", True, True),
        ("fine", "x", True, False),
        ("b\ufffdd", "x", True, True),
        ("b\ufffdd", "\ufffd", True, False),
        ("cut off\ufffd", "x", False, False),
        ("cut\ufffd off\ufffd", "x", False, True),
        ("\ufffd\ufffd", "x", False, True),
    ],
)
def test_what_a_broken_answer_is(text: str, expected: str, ended: bool, broken: bool) -> None:
    assert is_broken(text, expected, ended) is broken


def test_weights_of_one_kind_count(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert weights_bytes(tmp_path) == 0
    (tmp_path / "pytorch_model.bin").write_bytes(b"123")
    assert weights_bytes(tmp_path) == 3
    for name in ("model-1.safetensors", "model-2.safetensors"):
        (tmp_path / name).write_bytes(b"12345")
    assert weights_bytes(tmp_path) == 10


def test_a_missing_function_is_named_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "metrics.py").write_text("def rouge():\n    pass\n")
    with pytest.raises(StepError, match=r"metrics\.py has no 'rogue'") as caught:
        find_object(load_script(tmp_path / "metrics.py"), "rogue")
    assert "rouge" in caught.value.hint
