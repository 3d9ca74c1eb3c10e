"""Weights scaled by AWQ: the model computes the same, and its rounded weights lose less."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from pipeline.contract.plan import SourceInput, Step, StepInput
from targets.cli.options import PROJECT
from tests.support import plans
from tests.support.command import Quern
from tests.support.warm_process import warm_output

Inputs = Mapping[str, StepInput | SourceInput]

BASE: Inputs = {"model": plans.CHECKPOINT}
SCALED: Inputs = {"model": plans.output_of("awq")}
SCALING = plans.step("awq", "pass", BASE, {"symmetric": True}, data=plans.TONES)


def proofs() -> list[Step]:
    """Return the check of the scaled checkpoint, and what it reads."""
    references: Inputs = {
        "reference": plans.output_of("reference"),
        "unscaled_reference": plans.output_of("reference-unscaled"),
    }
    return [
        plans.step("reference", "pass", SCALED, data=plans.TONES),
        plans.step("reference-unscaled", "pass", BASE, data=plans.TONES, type="reference"),
        plans.step("scaling", "check", references),
    ]


def building() -> list[Step]:
    """Return the build of the scaled checkpoint, and the proofs of the artifact."""
    beside: Inputs = {**SCALED, "reference": plans.output_of("reference")}
    inputs: Inputs = {**SCALED, "artifact": plans.output_of("model_builder")}
    exports = {"float_reference": plans.output_of("float_reference")}
    return [
        plans.step("model_builder", "pass", SCALED, {"algorithm": "default"}),
        plans.step("float_reference", "pass", beside, data=plans.TONES),
        plans.step("rebuild", "check", inputs),
        plans.step("conversion", "check", {**inputs, **beside, **exports}),
        plans.step("quantization", "check", {**inputs, **beside, **exports}),
    ]


@pytest.fixture(scope="module")
def built(toolchain_python: Path, material: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a build with all its steps."""
    work = tmp_path_factory.mktemp("awq") / "work"
    plans.must_run(toolchain_python, work, material, [SCALING, *proofs(), *building()])
    return work


def test_every_proof_holds(built: Path) -> None:
    checks = ("scaling", "rebuild", "conversion", "quantization")
    verdicts = {v.name: v for name in checks for v in plans.result(built, name).verdicts}
    assert {v.status for v in verdicts.values()} == {"passed"}, verdicts
    assert verdicts["same_function"].value < 1e-6  # type: ignore[operator]


def test_it_says_which_matrices_were_scaled_and_why_others_were_not(built: Path) -> None:
    metrics: Any = plans.result(built, "awq").metrics
    assert metrics["matrices"] == 2 * len(("qkv", "gate_up", "down"))
    assert metrics["rows"] == 15  # of 24, what the split leaves to train on
    assert metrics["error"] < metrics["plain_error"]
    assert set(metrics["not_scaled"]) == {
        f"model.layers.{layer}.self_attn.o_proj.weight" for layer in range(2)
    }
    # A head is 16 wide, and two of them share their values.
    (why,) = set(metrics["not_scaled"].values())
    assert "groups that are not made of blocks of 32" in why


@pytest.mark.parametrize("part", ["input_layernorm", "mlp.gate_up_proj"])
def test_a_factor_in_one_place_only_is_found(
    built: Path, toolchain_python: Path, material: Path, tmp_path: Path, part: str
) -> None:
    work = tmp_path / "work"
    shutil.copytree(built, work, ignore=shutil.ignore_patterns("model_builder", "quantization"))
    for name in ("reference", "scaling"):
        shutil.rmtree(work / name)
    file = work / "awq" / "output" / "model.safetensors"
    tensors = load_file(file)
    before = load_file(material / "checkpoint" / "model.safetensors")
    name = f"model.layers.1.{part}.weight"
    changed = np.abs(tensors[name] - before[name]).reshape(len(before[name]), -1)
    row = int(changed.max(1).argmax())  # others are scaled by less than the limit sees
    tensors[name][row] = before[name][row]
    save_file(tensors, file, {"format": "pt"})
    reference, _, check = proofs()
    plans.must_run(toolchain_python, work, material, [reference, check])
    assert set(plans.failed_verdicts(work, "scaling")) == {"same_function"}


@pytest.fixture(scope="module")
def families(
    toolchain_python: Path, tiny: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """Return what `scaled_models.py` found in small models of several families."""
    folder = tmp_path_factory.mktemp("families")
    warm_output(toolchain_python, "tests.support.scaled_models", tiny, folder)
    found: dict[str, Any] = json.loads((folder / "found.json").read_text())
    return found


ALL = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("llama", ()),
        ("llama_bf16", ()),
        ("qwen2", ()),
        ("gemma3", ()),
        ("gemma3_bf16", ()),
        ("phi", ("fc2",)),
        ("phi3", ("o_proj",)),
    ],
)
def test_families_compute_the_same_and_lose_less(
    families: dict[str, Any], name: str, left: tuple[str, ...]
) -> None:
    facts = families[name]
    assert facts["difference"] < 1e-5
    assert 2 <= facts["factors"] <= 16**2
    assert {matrix.split(".")[-2] for matrix in facts["not_scaled"]} == set(left)
    scaled = {matrix: both for matrix, both in facts["errors"].items() if matrix in facts["said"]}
    assert len(scaled) == facts["matrices"]
    # Each matrix, by its own products with its inputs, rounded plainly by PyTorch.
    for matrix, (after, before) in scaled.items():
        assert after <= 1.02 * before, matrix
    total = [sum(column) for column in zip(*scaled.values(), strict=True)]
    assert total[0] < 0.95 * total[1]


def test_experts_are_left_as_they_are(families: dict[str, Any]) -> None:
    facts = families["mixtral"]
    assert facts["difference"] < 1e-5
    assert facts["matrices"] == 2 * len(("q", "k", "v", "o"))


TONE = (PROJECT / "configs" / "tone.toml").read_text("utf-8")
BUILDER = "[passes.model_builder]\n"
PLAIN = f'{BUILDER}algorithm = "default"\n'
SYMMETRIC = "symmetric = true\n\n"
WHOLE = {
    "gptq": f"[passes.gptq]\n\n{BUILDER}",
    "gptq and the builder's default": f"[passes.gptq]\n{SYMMETRIC}{PLAIN}",
    "awq": f"[passes.awq]\n\n{BUILDER}",
    "awq and the builder's default": f"[passes.awq]\n{SYMMETRIC}{PLAIN}",
    "awq and gptq": f"[passes.awq]\n\n[passes.gptq]\n\n{BUILDER}",
}


@pytest.mark.slow  # the fine-tune is that of test_tone.py
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("way", WHOLE)
def test_the_shipped_example_holds_every_proof(quern: Quern, tmp_path: Path, way: str) -> None:
    folder = shutil.copytree(PROJECT / "configs" / "base", tmp_path / "base").parent
    shutil.copyfile(PROJECT / "configs" / "tone.jsonl", folder / "tone.jsonl")
    config = folder / "tone.toml"
    config.write_text(TONE.replace(BUILDER, WHOLE[way]), "utf-8")
    ran = quern("build", "--config", str(config), "--dist", str(tmp_path / "dist"))
    assert ran.code == 0, ran.stdout + ran.stderr
    report = json.loads((tmp_path / "dist" / "tone" / "cpu" / "report.json").read_text())
    assert {verdict["status"] for verdict in report["checks"]} == {"passed"}
    names = {verdict["name"] for verdict in report["checks"]}
    assert ("same_function" in names) is ("awq" in way)
    assert ("chosen_integers" in names) is ("gptq" in way)
    quality = report["quality"]
    assert quality["tuned"] - quality["artifact"] <= 0.02
