"""Goals on real models: what is met passes, what is missed fails, what is unknown is said."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.contract.events import StepFailed
from pipeline.contract.plan import PathRef, SourceInput, Step, StepInput
from pipeline.contract.result import Verdict
from pipeline.latency.rounds import LatencyRounds
from tests.attack.planting import plant
from tests.support import plans

Inputs = Mapping[str, StepInput | SourceInput]
Bench = tuple[Path, Path]
"""The work folder, and the material: the tiny model, its data and the scripts."""

ARTIFACT = {"artifact": plans.output_of("model_builder")}
ANSWERS = {role: plans.output_of("evaluate") for role in ("base_answers", "tuned_answers")}
TIMED = {**ARTIFACT, "base_timing": plans.output_of("time_base")}
WEIGHED = {**ARTIFACT, "base_timing": plans.output_of("weigh")}
SHORT = {**ARTIFACT, "tuned_answers": plans.output_of("short")}
UNENDING = {
    "artifact": plans.output_of("end_of_turn_gone"),
    "tuned_answers": plans.output_of("evaluate"),
}
SCRIPT = {
    name: SourceInput(ref=PathRef(root="material", path=path), digest=path)
    for name, path in (("script", "metrics.py"), ("script_dir", "helpers"))
}
WORK = {"prompt_tokens": [8, 24], "max_new_tokens": 4, "warmup": 1}
TIMING = {**WORK, "lengths": [], "rounds": 4}
AS_TUNED = "as_tuned"


def goal(metric: str, **limit: Any) -> dict[str, Any]:
    return {"metric": metric, **limit}


def check(name: str, kind: str, inputs: Inputs, *goals: Mapping[str, Any], **params: Any) -> Step:
    asked = {**params, **({"goals": list(goals)} if goals else {})}
    return plans.step(name, "check", inputs, asked, plans.TONES, type=kind)


def script(name: str, *goals: Mapping[str, Any], **params: Any) -> Step:
    return check(name, "script", {**ARTIFACT, **SCRIPT}, *goals, script="metrics.py", **params)


BASE = {"model": plans.CHECKPOINT}
BUILDS = [
    plans.step("evaluate", "pass", BASE, data=plans.TONES),
    plans.step("short", "pass", BASE, {"max_new_tokens": 2}, plans.TONES, type="evaluate"),
    plans.step("time_base", "pass", BASE, WORK),
    plans.step("weigh", "pass", BASE, {"samples": 0}, type="time_base"),
    plans.step("model_builder", "pass", BASE),
]
CHECKS = [
    check(
        "fast",
        "latency",
        TIMED,
        goal("token_ms", statistic="p99", at_most=1000),
        goal("total_ms", statistic="avg", at_most=1000),
        goal("prompts_per_second", statistic="min", at_least=0.1),
        goal("first_token_ms", statistic="p50", max_degradation_percent=10_000),
        # As many processes as a p99 of so many tokens needs.
        **{**TIMING, "rounds": 16, "samples": 800},
    ),
    check(
        "slow",
        "latency",
        TIMED,
        goal("tokens_per_second", statistic="p90", at_least=1e9),
        goal("first_token_ms", statistic="p75", min_improvement_percent=99.999),
        **TIMING,
    ),
    check(
        "hasty",
        "latency",
        ARTIFACT,
        goal("total_ms", statistic="p999", at_most=1000),
        goal("first_token_ms", statistic="p90", min_improvement=1),
        max_seconds=0.01,
        **TIMING,
    ),
    check("small", "size", WEIGHED, goal("bytes", min_improvement_percent=1), max_bytes="1m"),
    check("large", "size", WEIGHED, goal("bytes", min_improvement_percent=99), max_bytes=1000),
    check("weighed", "size", ARTIFACT),
    check(
        "good",
        "quality",
        {**ARTIFACT, **ANSWERS},
        goal("macro_f1", at_least=0.9),
        goal("recall", max_degradation=0),
        goal("perplexity", at_most=1.5),
    ),
    check(
        "bad",
        "quality",
        {**ARTIFACT, **ANSWERS},
        goal("precision", min_improvement=0.1),
        goal("perplexity", at_most=1.0),
    ),
    check("tuned", "quality", ANSWERS, goal("accuracy", at_least=0.9)),
    check("strict", "generation", ARTIFACT, max_new_tokens=2),
    check("lenient", "generation", SHORT, min_ended=AS_TUNED),
    check(
        "unending",
        "generation",
        UNENDING,
        min_ended=AS_TUNED,
        max_degenerate=AS_TUNED,
        max_broken=AS_TUNED,
    ),
    script(
        "metric",
        goal("same", at_least=0.9),
        goal("rows", at_most=5),
        metric="overlap",
        post_process="folded",
        params={"fold": True},
        samples=5,
    ),
    script("missed", goal("same", at_least=0.9), metric="overlap", post_process="folded"),
    script("asked", goal("ok", at_least=1), evaluate="ask", params={"text": "we won the game"}),
]


@pytest.fixture(scope="module")
def bench(
    toolchain_python: Path, material: Path, tmp_path_factory: pytest.TempPathFactory
) -> Bench:
    """Build an artifact and one that never ends, and run every check once, in one process."""
    shutil.copy(plans.HERE / "metrics.py", material)
    (material / "helpers").mkdir()
    (material / "helpers" / "helper.py").write_text("JOY = 'joy'\n")
    (material / "helpers" / "late.py").write_text("TRUE = True\n")
    work = tmp_path_factory.mktemp("goals") / "work"
    plans.must_run(toolchain_python, work, material, BUILDS)
    plant(toolchain_python, work, "model_builder", "end_of_turn_gone")
    plans.must_run(toolchain_python, work, material, CHECKS)
    return work, material


def verdicts(bench: Bench, name: str) -> dict[str, Verdict]:
    return {verdict.name: verdict for verdict in plans.result(bench[0], name).verdicts}


def statuses(bench: Bench, name: str) -> dict[str, str]:
    return {name: verdict.status for name, verdict in verdicts(bench, name).items()}


def test_speed(bench: Bench) -> None:
    assert statuses(bench, "fast") == {
        "token_ms_p99": "passed",
        "total_ms_avg": "passed",
        "prompts_per_second_min": "passed",
        "first_token_ms_p50_vs_base": "passed",
    }
    latency: Any = plans.result(bench[0], "fast").evidence["latency"]
    # Each answer has three further tokens, and a p99 needs 662 of them.
    short = LatencyRounds.model_validate(latency["artifact"]).joined("short")
    assert latency["prompts"] == len(short.total_ms) >= 221
    assert set(short.prompt_tokens) == {8, 24}
    figures = latency["statistics"]["short"]
    assert figures["total_ms"]["avg"] >= figures["first_token_ms"]["avg"]
    assert latency["base"]["device"] == "cpu"


def test_speed_that_is_missed(bench: Bench) -> None:
    assert statuses(bench, "slow") == {
        "tokens_per_second_p90": "failed",
        "first_token_ms_p75_vs_base": "failed",
    }
    assert "in PyTorch on cpu" in verdicts(bench, "slow")["first_token_ms_p75_vs_base"].detail


def test_speed_that_is_not_known(bench: Bench) -> None:
    """Too little time leaves a limit undecided, which fails; without the base there is none."""
    found = verdicts(bench, "hasty")
    assert {name: verdict.status for name, verdict in found.items()} == {
        "total_ms_p999": "failed",
        "first_token_ms_p90_vs_base": "unverified",
    }
    detail = found["total_ms_p999"].detail
    assert detail.startswith("undecided: ")
    assert "too few for a p999, after " in detail


def test_size(bench: Bench) -> None:
    weights = (bench[1] / "checkpoint" / "model.safetensors").stat().st_size
    assert plans.result(bench[0], "weigh").metrics == {"weights_bytes": weights}
    assert set(statuses(bench, "small").values()) == {"passed"}
    assert set(statuses(bench, "large").values()) == {"failed"}
    weighed = plans.result(bench[0], "weighed")
    files = plans.result(bench[0], "model_builder").files
    assert weighed.evidence["figures"] == {"bytes": sum(file.bytes for file in files)}
    assert not weighed.verdicts


def test_quality(bench: Bench) -> None:
    assert set(statuses(bench, "good").values()) == {"passed"}
    assert {"macro_f1", "recall_vs_base", "perplexity"} <= statuses(bench, "good").keys()
    failed = plans.failed_verdicts(bench[0], "bad")
    assert failed.keys() == {"precision_vs_base", "perplexity"}


def test_quality_of_a_chain_that_ends_in_pytorch(bench: Bench) -> None:
    assert statuses(bench, "tuned") == {
        "accuracy": "passed",
        "valid_answers": "passed",
        "tuning_loss": "passed",
    }
    quality: Any = plans.result(bench[0], "tuned").evidence["quality"]
    assert (quality["artifact"], quality["tuned"]) == (None, 1.0)


def test_an_answer_that_the_tuned_model_does_not_end_either(bench: Bench) -> None:
    assert statuses(bench, "strict")["answers_end"] == "failed"
    lenient = verdicts(bench, "lenient")["answers_end"]
    assert (lenient.status, lenient.value, lenient.limit) == ("passed", 0, 0)
    assert "within 2 tokens; of the merged model's: 0.0%" in lenient.detail


def test_an_answer_that_only_the_tuned_model_ends(bench: Bench) -> None:
    failed = plans.failed_verdicts(bench[0], "unending")
    assert failed["answers_end"].limit == 0.9


def test_scripts(bench: Bench) -> None:
    assert statuses(bench, "metric") == {"same": "passed", "rows": "passed"}
    assert plans.result(bench[0], "metric").evidence["figures"] == {"same": 1.0, "rows": 5.0}
    assert statuses(bench, "missed") == {"same": "failed"}
    assert statuses(bench, "asked") == {"ok": "passed"}


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (script("x1", metric="broken"), "broken in metrics.py raised LookupError: 7 and 7"),
        (script("x2", metric="words"), "which is not a number"),
        (
            script("x4", goal("sane", at_least=1), metric="overlap"),
            "overlap returned no sane; it returned: same, rows",
        ),
        (check("x5", "latency", ARTIFACT, prompt_tokens=[5000]), "the model's context 4096"),
        (
            check("x6", "generation", SHORT, min_ended=AS_TUNED, max_new_tokens=9),
            "was given 2 tokens",
        ),
    ],
    ids=["raises", "no number", "no figure", "too long", "other budget"],
)
def test_what_cannot_be_judged_stops_the_build(
    bench: Bench, toolchain_python: Path, step: Step, said: str
) -> None:
    work, material = bench
    code, events, _ = plans.run(toolchain_python, work, material, [step])
    assert code == 1
    (event,) = (event for event in events if isinstance(event, StepFailed))
    assert (event.cause, said in event.message) == ("bad_input", True), event.message
