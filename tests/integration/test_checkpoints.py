"""Checkpoints as people have them: what is trained and merged is what transformers loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from pipeline.contract.events import StepFailed, StepProgress
from pipeline.contract.plan import Step
from tests.support import plans
from tests.support.plans import TONES, material_input, must_run, output_of, step
from tests.support.warm_process import warm_output

LORA = {"max_steps": 3, "r": 4, "alpha": 8, "learning_rate": 0.01, "keep": "last"}


@pytest.fixture(scope="module")
def odd(toolchain_python: Path, material: Path) -> Path:
    """Return the material with odd checkpoints beside the tiny one."""
    run_script(toolchain_python, "make", material / "checkpoint", material)
    return material


def run_script(python: Path, *arguments: str | Path) -> str:
    return warm_output(python, "tests.support.odd_checkpoints", *arguments)


def steps(model: str) -> list[Step]:
    base = material_input(model)
    return [
        step("lora", "pass", {"model": base}, LORA, TONES),
        step("merge", "pass", {"model": base, "adapter": output_of("lora")}),
    ]


@pytest.mark.parametrize("model", ["checkpoint", "stale", "old"])
def test_the_merge_is_that_of_transformers_and_peft(
    toolchain_python: Path, odd: Path, tmp_path: Path, model: str
) -> None:
    work = tmp_path / "work"
    must_run(toolchain_python, work, odd, steps(model))
    merge = plans.result(work, "merge")
    assert merge.metrics["weights"] == "one by one"
    found = run_script(
        toolchain_python,
        "distance",
        odd / model,
        work / "lora" / "output",
        work / "merge" / "output",
    )
    # The sum is the same, added up in another order.
    assert float(found) < 1e-5


def test_a_base_whose_config_names_no_format_keeps_that_of_its_file(
    toolchain_python: Path, odd: Path, tmp_path: Path
) -> None:
    """Whether it is merged tensor by tensor or, as for a model with code of its own, at once."""
    work = tmp_path / "work"
    lora, merge = steps("undeclared")
    whole = merge.model_copy(
        update={"name": "whole", "key": "whole", "params": {"trust_remote_code": True}}
    )
    must_run(toolchain_python, work, odd, [lora, merge, whole])
    for name, weights in (("merge", "one by one"), ("whole", "at once: ")):
        metrics = plans.result(work, name).metrics
        assert str(metrics["weights"]).startswith(weights)
        assert metrics["dtype"] == "bfloat16"


@pytest.mark.parametrize(
    ("model", "name"),
    [("lacking", "model.norm.weight"), ("broken", "model.layers.1.mlp.down_proj.weight")],
)
def test_a_weight_that_is_missing_or_no_number_is_named_before_any_training(
    toolchain_python: Path, odd: Path, tmp_path: Path, model: str, name: str
) -> None:
    code, events, _ = plans.run(toolchain_python, tmp_path / "work", odd, steps(model))
    (failed,) = (event for event in events if isinstance(event, StepFailed))
    assert code == 1
    assert (failed.step, failed.cause) == ("lora", "bad_input")
    assert name in failed.message
    assert not [event for event in events if isinstance(event, StepProgress)]


def test_a_training_whose_loss_is_no_number_ends_at_once(
    toolchain_python: Path, odd: Path, tmp_path: Path
) -> None:
    wild = {**LORA, "learning_rate": 1e30, "max_steps": 300, "logging_steps": 1}
    lora = step("lora", "pass", {"model": material_input("checkpoint")}, wild, TONES)
    code, events, _ = plans.run(toolchain_python, tmp_path / "work", odd, [lora])
    (failed,) = (event for event in events if isinstance(event, StepFailed))
    assert (code, failed.cause) == (1, "bad_input")
    assert "the training loss is not a number" in failed.message
    assert len([event for event in events if isinstance(event, StepProgress)]) < 9


def test_steps_between_two_points_of_the_curve_are_told_with_loss_and_speed(
    toolchain_python: Path, odd: Path, tmp_path: Path
) -> None:
    base, work = {"model": material_input("checkpoint")}, tmp_path / "work"
    params = {**LORA, "gradient_accumulation": 2}
    plan = [
        step("rare", "pass", base, {**params, "logging_steps": 2}, TONES, type="lora"),
        step("each", "pass", base, {**params, "logging_steps": 1}, TONES, type="lora"),
    ]
    code, events, _ = plans.run(toolchain_python, work, odd, plan)
    assert code == 0
    told = [one for one in events if isinstance(one, StepProgress) and one.step == "rare"]
    assert (told[0].done, told[-1].done, told[-1].total) == (1, 3, 3)
    assert all({"loss", "tokens_per_second"} <= set(one.metrics) for one in told)
    curve: Any = plans.result(work, "each").metrics["train_loss_curve"]
    losses = dict(curve)
    assert told[0].metrics["loss"] == pytest.approx(losses[1], abs=1e-5)
    assert told[-1].metrics["loss"] == pytest.approx(losses[3], abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["theta", "partial"])
def test_rotary_settings_reach_an_older_builder(
    directml_python: Path, odd: Path, tmp_path: Path, model: str
) -> None:
    work = tmp_path / "work"
    base = material_input(model)
    dml = {"precision": "int4", "execution_provider": "dml"}
    plan = [
        step("model_builder", "pass", {"model": base}, dml),
        step("graph", "check", {"artifact": output_of("model_builder"), "model": base}),
    ]
    must_run(directml_python, work, odd, plan)
    verdicts = {verdict.name: verdict for verdict in plans.result(work, "graph").verdicts}
    assert verdicts["rotary_table"].status == "passed"
    # The plain formula (RoPE, arXiv 2104.09864), not transformers'.
    table = onnx_table(work / "model_builder" / "output" / "model.onnx")
    config = json.loads((odd / model / "config.json").read_text())
    rope = config["rope_parameters"]
    size = config["hidden_size"] // config["num_attention_heads"]
    turned = int(size * rope.get("partial_rotary_factor", 1.0))
    frequencies = rope["rope_theta"] ** (-np.arange(0, turned, 2) / turned)
    right = np.cos(np.arange(len(table))[:, None] * frequencies)
    assert table.shape == right.shape
    assert np.abs(table - right).max() < 0.002


def test_a_sliding_window_reaches_the_graph(
    toolchain_python: Path, odd: Path, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    base = material_input("windowed")
    compared = {"artifact": output_of("model_builder"), "reference": output_of("reference")}
    plan = [
        step("model_builder", "pass", {"model": base}, {"precision": "fp32"}),
        step("reference", "pass", {"model": base}, {"samples": 8}, TONES),
        step("conversion", "check", compared),
    ]
    must_run(toolchain_python, work, odd, plan)
    errors = {one.name: one.value or 0 for one in plans.result(work, "conversion").verdicts}
    # Without the window it is 0.2.
    assert errors["long_logits_error"] < 1e-4
    # A text may be shorter than the window, too.
    assert errors["logits_error"] < 1e-4


def onnx_table(path: Path) -> np.ndarray[Any, Any]:
    """Return the cosines of a graph."""
    graph = onnx.load(str(path)).graph
    (cos,) = (one for one in graph.initializer if one.name == "cos_cache")
    return onnx.numpy_helper.to_array(cos).astype(np.float64)
