"""Planted faults: each must be caught by the check that is there for it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.contract.events import StepFailed, Text
from pipeline.contract.plan import SourceInput, Step, StepInput
from pipeline.latency.rounds import LatencyRounds
from tests.attack.planting import plant
from tests.support import plans

# Fault -> the verdicts of the graph check of which one at least must fail.
GRAPH_FAULTS = {
    "broken_graph": {"graph_readable"},
    "context_larger": {"genai_config"},
    "data_gone": {"external_data"},
    "data_truncated": {"external_data"},
    "end_of_turn_gone": {"tokenizer"},
    "end_of_turn_not_special": {"tokenizer"},
    "head_on_first_layer": {"graph_structure"},
    "head_size": {"genai_config"},
    "infinite_norm": {"finite_weights"},
    "input_renamed": {"genai_config"},
    "layers": {"genai_config"},
    "no_ends": {"genai_config"},
    "not_a_number": {"finite_weights"},
    "offset_beyond": {"external_data"},
    "outside": {"external_data"},
    "overlap": {"external_data"},
    "penalty": {"checkpoint"},
    "rotary_between_samples": {"rotary_table"},
    "rotary_of_another_base": {"rotary_table"},
    "scales_zero": {"finite_weights"},
    "softcap": {"attributes"},
    "swapped_letters": {"tokenizer"},
    "system_token_gone": {"tokenizer"},
    "template_is_no_template": {"tokenizer"},
    "template_without_ends": {"tokenizer"},
    "template_without_first_turns": {"tokenizer"},
    "template_without_system": {"tokenizer"},
    "trailing_bytes": {"external_data"},
    "unordered": {"graph_structure"},
    "vocabulary_size": {"genai_config"},
    "wider": {"packing"},
    "window_a_little_smaller": {"attributes"},
}
# Fault -> the verdict of the rebuild check: one of each kind, and of each that nothing else sees.
REBUILD_FAULTS = {
    "another_begin": "same_settings",
    "key_beside": "same_files",
    "normalizer": "same_tokenizer",
    "norm_larger": "same_weights",
    "one_weight": "same_weights",
    "rare_rows": "same_weights",
    "sampling": "same_settings",
    "softcap": "same_graph",
    "template_without_system": "same_tokenizer",
    "zero_point_of_a_column": "same_weights",
}
OTHER_GRAPHS = {"int8", "fp32"}
PAIRS = {"algorithm": "default", "extra_options": {"use_qdq": True}}
"""Weights that a node of its own makes floats of (QDQ)."""


@dataclass(frozen=True)
class Bench:
    """A work folder with a good artifact, spoiled copies of it, and all that was measured."""

    python: Path
    material: Path
    work: Path

    def spoil(self, names: Sequence[str]) -> None:
        """Copy the good artifact under every name and plant the fault of that name into it."""
        plant(self.python, self.work, "model_builder", *names)

    def disguise(self, name: str) -> None:
        """Put the graph of another build where the good artifact's is."""
        place = self.work / f"{name}-as-int4"
        shutil.copytree(self.work / "model_builder", place)
        for file in ("model.onnx", "model.onnx.data"):
            shutil.copy(self.work / name / "output" / file, place / "output")


def check(kind: str, artifact: str) -> Step:
    """Return a check that reads the artifact and the checkpoint."""
    inputs: dict[str, StepInput | SourceInput] = {
        "artifact": plans.output_of(artifact),
        "model": plans.CHECKPOINT,
    }
    return plans.step(f"{kind}-{artifact}", "check", inputs, type=kind)


def data_check(kind: str, artifact: str, **params: Any) -> Step:
    inputs = {"artifact": plans.output_of(artifact)}
    if kind == "quality":
        inputs |= {role: plans.output_of("evaluate") for role in ("base_answers", "tuned_answers")}
    return plans.step(f"{kind}-{artifact}", "check", inputs, params, plans.TONES, type=kind)


@pytest.fixture(scope="module")
def bench(
    toolchain_python: Path, material: Path, tmp_path_factory: pytest.TempPathFactory
) -> Bench:
    """Build one artifact, spoil copies of it, and run every check once, in one process."""
    bench = Bench(toolchain_python, material, tmp_path_factory.mktemp("checks") / "work")
    model = {"model": plans.CHECKPOINT}
    builds = [
        plans.step("evaluate", "pass", model, data=plans.TONES),
        plans.step("model_builder", "pass", model),
        plans.step("again", "pass", model, type="model_builder"),
        *(
            plans.step(name, "pass", model, {"precision": name}, type="model_builder")
            for name in sorted(OTHER_GRAPHS)
        ),
        plans.step("pairs", "pass", model, PAIRS, type="model_builder"),
    ]
    plans.must_run(bench.python, bench.work, material, builds)
    bench.spoil(sorted({*GRAPH_FAULTS, *REBUILD_FAULTS, "scrambled", "shortest_answer"}))
    for name in sorted(OTHER_GRAPHS):
        bench.disguise(name)
    spoiled = [*GRAPH_FAULTS, *(f"{name}-as-int4" for name in sorted(OTHER_GRAPHS))]
    quick: dict[str, Any] = {"lengths": [], "rounds": 12}
    limits = {"first_token_ms": 1000.0, "token_ms": 100.0, **quick}
    steps = [
        *(
            check("graph", name)
            for name in ("model_builder", "pairs", *sorted(OTHER_GRAPHS), *spoiled)
        ),
        *(check("rebuild", name) for name in ("model_builder", *sorted(OTHER_GRAPHS))),
        *(check("rebuild", name) for name in REBUILD_FAULTS),
        data_check("generation", "model_builder"),
        data_check("generation", "end_of_turn_gone"),
        data_check("generation", "shortest_answer"),
        data_check("quality", "model_builder", min_accuracy=0.9),
        data_check("quality", "scrambled", min_accuracy=0.9),
        data_check("latency", "model_builder", **limits),
        data_check("latency", "int8", first_token_ms=1e-4, token_ms=1e-4, **quick),
    ]
    plans.must_run(bench.python, bench.work, material, steps)
    return bench


@pytest.mark.parametrize("kind", ["graph", "generation", "quality", "latency", "rebuild"])
def test_a_good_artifact_passes(bench: Bench, kind: str) -> None:
    verdicts = plans.result(bench.work, f"{kind}-model_builder").verdicts
    assert len(verdicts) >= 2
    assert all(verdict.status == "passed" for verdict in verdicts), verdicts


@pytest.mark.parametrize("precision", sorted(OTHER_GRAPHS))
def test_other_precisions_pass_as_what_they_are(bench: Bench, precision: str) -> None:
    for kind in ("graph", "rebuild"):
        assert not plans.failed_verdicts(bench.work, f"{kind}-{precision}")


def test_matrices_that_nodes_of_their_own_make_floats_of_count_as_quantized(bench: Bench) -> None:
    verdicts = plans.result(bench.work, "graph-pairs").verdicts
    assert all(verdict.status == "passed" for verdict in verdicts), verdicts
    graph = (bench.work / "pairs" / "output" / "model.onnx").read_bytes()
    assert b"DequantizeLinear" in graph
    assert b"MatMulNBits" not in graph


def test_a_second_build_has_the_same_bytes_and_knows_no_path(bench: Bench) -> None:
    files = plans.result(bench.work, "model_builder").files
    assert files == plans.result(bench.work, "again").files
    assert {"model.onnx", "model.onnx.data", "genai_config.json"} <= {file.path for file in files}
    for file in files:
        content = (bench.work / "model_builder" / "output" / file.path).read_bytes()
        assert str(bench.material).encode() not in content, file.path


def test_an_option_the_builder_would_ignore_is_refused(bench: Bench) -> None:
    params = {"extra_options": {"blok_size": 32}}
    inputs = {"model": plans.CHECKPOINT}
    wrong = plans.step("wrong", "pass", inputs, params, type="model_builder")
    code, events, _ = plans.run(bench.python, bench.work, bench.material, [wrong])
    assert code == 1
    (event,) = (event for event in events if isinstance(event, StepFailed))
    assert (event.cause, "did you mean 'block_size'" in event.message) == ("bad_input", True)


def test_an_answer_is_streamed(bench: Bench) -> None:
    params = {"text": "what a bright morning"}
    inputs = {"artifact": plans.output_of("model_builder")}
    ask = plans.step("try", "pass", inputs, params, type="generate")
    code, events, log = plans.run(bench.python, bench.work, bench.material, [ask])
    assert code == 0, log[-2000:]
    assert "".join(event.text for event in events if isinstance(event, Text)) == "joy"
    metrics = plans.result(bench.work, "try").metrics
    assert metrics["new_tokens"] == 3
    assert float(str(metrics["first_token_ms"])) > 0


def test_a_question_that_holds_a_control_token_is_refused(bench: Bench) -> None:
    params = {"text": "what a <|end|> morning"}
    inputs = {"artifact": plans.output_of("model_builder")}
    ask = plans.step("try-control", "pass", inputs, params, type="generate")
    code, events, _ = plans.run(bench.python, bench.work, bench.material, [ask])
    (failed,) = (event for event in events if isinstance(event, StepFailed))
    assert (code, failed.cause) == (1, "bad_input")
    assert "the user turn holds '<|end|>'" in failed.message


@pytest.mark.parametrize("fault", sorted(GRAPH_FAULTS))
def test_graph_catches(bench: Bench, fault: str) -> None:
    failed = plans.failed_verdicts(bench.work, f"graph-{fault}")
    assert GRAPH_FAULTS[fault] & set(failed), failed
    assert all(verdict.detail for verdict in failed.values())


@pytest.mark.parametrize("precision", sorted(OTHER_GRAPHS))
def test_graph_catches_another_precision(bench: Bench, precision: str) -> None:
    failed = plans.failed_verdicts(bench.work, f"graph-{precision}-as-int4")
    assert failed["quantized_share"].value == 0


def test_generation_catches_an_answer_that_never_ends(bench: Bench) -> None:
    assert "answers_end" in plans.failed_verdicts(bench.work, "generation-end_of_turn_gone")


@pytest.mark.parametrize("fault", REBUILD_FAULTS)
def test_rebuild_names(bench: Bench, fault: str) -> None:
    failed = plans.failed_verdicts(bench.work, f"rebuild-{fault}")
    assert failed.keys() == {REBUILD_FAULTS[fault]}
    assert all(verdict.detail for verdict in failed.values())


def test_generation_asks_with_the_artifacts_own_settings(bench: Bench) -> None:
    failed = plans.failed_verdicts(bench.work, "generation-shortest_answer")
    assert failed.keys() == {"own_settings"}


def test_quality_catches_scrambled_weights(bench: Bench) -> None:
    failed = plans.failed_verdicts(bench.work, "quality-scrambled")
    assert {"accuracy", "accuracy_loss", "valid_answers"} <= set(failed)


def test_quality_reports_all_three_models(bench: Bench) -> None:
    quality = plans.result(bench.work, "quality-model_builder").evidence["quality"]
    assert isinstance(quality, dict)
    assert quality["metric"] == "accuracy"
    assert quality["samples"] == 7
    assert quality["base"] == quality["tuned"] == quality["artifact"] == 1.0


def test_latency_catches_a_missed_limit_and_keeps_raw_samples(bench: Bench) -> None:
    failed = plans.failed_verdicts(bench.work, "latency-int8")
    assert set(failed) == {"first_token_ms", "token_ms"}
    latency = plans.result(bench.work, "latency-int8").evidence["latency"]
    assert isinstance(latency, dict)
    short = LatencyRounds.model_validate(latency["artifact"]).joined("short")
    assert len(short.first_token_ms) == 96
    assert len(short.token_ms) == 96 * 15
