"""Weights rounded by GPTQ: from the training part to the artifact, and every proof of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from safetensors.numpy import load_file, save_file

from pipeline.contract.plan import SourceInput, Step, StepInput
from tests.support import plans
from tests.support.warm_process import warm_output

Inputs = Mapping[str, StepInput | SourceInput]

ROUNDED = plans.output_of("gptq")
BASE: Inputs = {"model": plans.CHECKPOINT}
SYMMETRIC = {"symmetric": True}


def rounding(params: Mapping[str, Any]) -> Step:
    """Return the step that rounds the tiny model."""
    return plans.step("gptq", "pass", BASE, params, data=plans.TONES)


def building(params: Mapping[str, Any]) -> Step:
    """Return the step that builds it."""
    return plans.step("model_builder", "pass", {**BASE, "integers": ROUNDED}, params)


def checks() -> list[Step]:
    """Return the checks that know where the integers come from, and what they read."""
    reference = plans.step("reference", "pass", BASE, data=plans.TONES)
    beside: Inputs = {**BASE, "reference": plans.output_of("reference")}
    exported = plans.step("float_reference", "pass", beside, data=plans.TONES)
    artifact = plans.output_of("model_builder")
    inputs: Inputs = {**BASE, "artifact": artifact, "integers": ROUNDED}
    exports = {"float_reference": plans.output_of("float_reference")}
    compared: Inputs = {**inputs, **beside, **exports}
    return [
        reference,
        exported,
        plans.step("rebuild", "check", inputs),
        plans.step("quantization", "check", compared),
    ]


@pytest.fixture(scope="module", params=["zero points", "symmetric"])
def built(
    request: pytest.FixtureRequest,
    toolchain_python: Path,
    material: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Return the folder of a build with all its steps."""
    work = tmp_path_factory.mktemp("gptq") / "work"
    symmetric = request.param == "symmetric"
    steps = [
        rounding(SYMMETRIC if symmetric else {}),
        building({"algorithm": "default" if symmetric else "k_quant"}),
        *checks(),
    ]
    plans.must_run(toolchain_python, work, material, steps)
    return work


def tensors(folder: Path) -> dict[str, Any]:
    """Return the tensors of a graph by name."""
    model = onnx.load(str(folder / "model.onnx"))
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


def products(folder: Path) -> dict[str, tuple[Any, Any, Any]]:
    """Return integers, scales and zero points of the layers' matrices, by what makes them."""
    model = onnx.load(str(folder / "model.onnx"))
    stored = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    found = {}
    for node in model.graph.node:
        if node.op_type != "MatMulNBits" or "/layers" not in node.name:
            continue
        names = [name for name in node.input if name in stored]
        values, scales, *zeros = (stored[name] for name in names)
        rows = len(values)
        name = node.name.split("/MatMul")[0]
        zero = zeros[0].reshape(rows, -1) if zeros else np.full((rows, 1), 0x88, np.uint8)
        found[name] = (values.reshape(rows, -1), scales.reshape(rows, -1), zero)
    return found


def test_the_builders_own_reader_finds_the_same_integers(
    built: Path, toolchain_python: Path, tmp_path: Path
) -> None:
    warm_output(toolchain_python, "tests.support.plain_gptq", built / "gptq" / "output", tmp_path)
    ours, theirs = products(built / "model_builder" / "output"), products(tmp_path)
    assert ours.keys() == theirs.keys()
    assert len(ours) == 2 * len(("qkv", "o", "gate", "up", "down"))
    for name, (values, scales, zeros) in ours.items():
        assert np.array_equal(values, theirs[name][0]), name
        assert np.array_equal(scales, theirs[name][1].astype(np.float32)), name
        assert np.array_equal(np.broadcast_to(zeros, theirs[name][2].shape), theirs[name][2]), name


def test_every_proof_holds(built: Path) -> None:
    rebuild, quantization = (plans.result(built, name) for name in ("rebuild", "quantization"))
    verdicts = {v.name: v for v in (*rebuild.verdicts, *quantization.verdicts)}
    assert {v.status for v in verdicts.values()} == {"passed"}, verdicts
    assert verdicts["chosen_integers"].detail.startswith("8 weights are those that were chosen")
    assert plans.result(built, "model_builder").metrics["integers_chosen"] is True


def test_products_change_less_than_by_rounding_each_weight(built: Path) -> None:
    metrics = plans.result(built, "gptq").metrics
    assert metrics["matrices"] == 8
    assert metrics["rows"] == 15  # of 24, what the split leaves to train on
    assert metrics["error"] < 0.9 * metrics["nearest_error"]  # type: ignore[operator]
    config = json.loads((built / "gptq" / "output" / "config.json").read_text())
    assert config["quantization_config"]["quant_method"] == "gptq"


def planted(built: Path, work: Path, fault: str) -> Path:
    """Copy a build with a fault in what was chosen for one matrix."""
    shutil.copytree(built, work)
    for name in ("rebuild", "quantization"):
        shutil.rmtree(work / name)
    folder = work / "gptq" / "output"
    file = folder / "model-00002-of-00003.safetensors"
    found = load_file(file)
    layer = next(
        name.removesuffix(".qweight") for name in found if name.endswith("qkv_proj.qweight")
    )
    changed = {name: value.copy() for name, value in found.items()}
    if fault == "zero point":
        changed[f"{layer}.qzeros"][0, 0] ^= 1
    elif fault == "scale":
        scales = changed[f"{layer}.scales"]
        scales[0, 0] = np.nextafter(scales[0, 0], np.float16(np.inf))
    elif fault == "larger":
        changed[f"{layer}.scales"] *= np.float16(1.1)
    elif fault == "integer":
        changed[f"{layer}.qweight"][0, 0] ^= 1
    else:
        words = changed[f"{layer}.qweight"]
        words[[0, 1]] = words[[1, 0]]
    save_file(changed, file)
    return work


@pytest.mark.parametrize("built", ["zero points"], indirect=True)
@pytest.mark.parametrize(
    "fault",
    [
        "zero point",
        "scale",
        pytest.param("integer", marks=pytest.mark.slow),
        pytest.param("order", marks=pytest.mark.slow),
    ],
)
def test_an_artifact_of_other_integers_is_found(
    built: Path, toolchain_python: Path, material: Path, tmp_path: Path, fault: str
) -> None:
    work = planted(built, tmp_path / "work", fault)
    plans.must_run(toolchain_python, work, material, checks()[2:])
    assert set(plans.failed_verdicts(work, "rebuild")) == {"same_weights"}
    failed = plans.failed_verdicts(work, "quantization")
    assert set(failed) == {"chosen_integers"}
    assert "layer 0 q_proj: " in failed["chosen_integers"].detail


@pytest.mark.parametrize("built", ["zero points"], indirect=True)
def test_a_pass_that_scales_a_matrix_wrongly_is_found(
    built: Path, toolchain_python: Path, material: Path, tmp_path: Path
) -> None:
    work = planted(built, tmp_path / "work", "larger")
    shutil.rmtree(work / "model_builder")
    again = [building({"algorithm": "k_quant"}), checks()[3]]
    plans.must_run(toolchain_python, work, material, again)
    failed = plans.failed_verdicts(work, "quantization")
    assert set(failed) == {"layer_scales"}
    assert "layer 0 q_proj is 1." in failed["layer_scales"].detail
    assert "layer 1" not in failed["layer_scales"].detail


@pytest.mark.slow  # the tiny model above has joined projections, which the builder splits
def test_other_families_and_providers_get_the_integers_too(
    toolchain_python: Path, tiny: Path, tmp_path: Path
) -> None:
    warm_output(toolchain_python, "tests.support.rounded_models", tiny, tmp_path)
    found = json.loads((tmp_path / "found.json").read_text())
    assert len(found) == 4
    for name, facts in found.items():
        assert facts["matrices"] == 2 * len(("q", "k", "v", "o", "gate", "up", "down")), name
        assert facts["error"] < 0.8 * facts["nearest_error"], name
        for provider in ("cpu", "cuda", "dml"):
            assert facts[provider] == [14, []], (name, provider)
        assert facts["beside"] < 0.05, name
