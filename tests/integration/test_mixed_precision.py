"""Matrices that are kept in int8: from the measurement to the artifact, and every proof of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import pytest

from pipeline.contract.plan import SourceInput, Step, StepInput
from tests.support import plans
from tests.support.warm_process import warm_output

Inputs = Mapping[str, StepInput | SourceInput]

BASE: Inputs = {"model": plans.CHECKPOINT}
CHOSEN: Inputs = {"widths": plans.output_of("mixed_precision")}
ROUNDED: Inputs = {"integers": plans.output_of("gptq")}
PROJECTIONS = {
    "self_attn.qkv_proj": ("q", "k", "v"),
    "self_attn.o_proj": ("o",),
    "mlp.gate_up_proj": ("gate", "up"),
    "mlp.down_proj": ("down",),
}
"""Of the tiny model's layers, and what the builder makes of them: it joins the first three again.
"""


def choosing(params: Mapping[str, Any]) -> Step:
    """Return the step that chooses widths for the tiny model."""
    return plans.step("mixed_precision", "pass", BASE, params, data=plans.TONES)


def building(more: Inputs, algorithm: str = "k_quant") -> Step:
    """Return the step that builds it."""
    return plans.step("model_builder", "pass", {**BASE, **CHOSEN, **more}, {"algorithm": algorithm})


def checks(more: Inputs) -> list[Step]:
    """Return the checks of what was chosen, and what they read."""
    inputs: Inputs = {**BASE, "artifact": plans.output_of("model_builder")}
    reference = plans.step("reference", "pass", BASE, data=plans.TONES)
    beside: Inputs = {"reference": plans.output_of("reference")}
    return [
        plans.step("graph", "check", {**inputs, **CHOSEN}),
        plans.step("rebuild", "check", {**inputs, **CHOSEN, **more}),
        reference,
        plans.step("quantization", "check", {**inputs, **beside, **more}),
    ]


@pytest.fixture(scope="module")
def built(toolchain_python: Path, material: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a build with all its steps, in which ``gptq`` rounds the others."""
    work = tmp_path_factory.mktemp("mixed") / "work"
    rounding = plans.step("gptq", "pass", {**BASE, **CHOSEN}, data=plans.TONES)
    steps = [choosing({"int8_share": 0.3}), rounding, building(ROUNDED), *checks(ROUNDED)]
    plans.must_run(toolchain_python, work, material, steps)
    return work


def widths(folder: Path) -> dict[str, int]:
    """Return the widths of a graph's matrices by the checkpoint's names, without Quern's reader."""
    names = {
        **{part: f"self_attn.{part}" for part in ("qkv_proj", "o_proj")},
        **dict.fromkeys(("gate_proj", "up_proj"), "mlp.gate_up_proj"),
        "down_proj": "mlp.down_proj",
    }
    found: dict[str, int] = {}
    for node in onnx.load(str(folder / "model.onnx"), load_external_data=False).graph.node:
        if node.op_type != "MatMulNBits":
            continue
        (bits,) = (one.i for one in node.attribute if one.name == "bits")
        _, *path = node.name.split("/")  # /model/layers.0/attn/qkv_proj/MatMul_Q4
        name = "lm_head.weight"
        if path[0] != "lm_head":
            name = f"model.{path[1]}.{names[path[3]]}.weight"
        assert found.setdefault(name, bits) == bits, name
    return found


def test_the_graph_has_the_widths_that_were_chosen(built: Path) -> None:
    file = built / "mixed_precision" / "output" / "widths.json"
    chosen = json.loads(file.read_text())
    expected = {**dict.fromkeys(chosen["int4"], 4), **dict.fromkeys(chosen["int8"], 8)}
    assert len(expected) == 2 * len(PROJECTIONS) + 1
    assert set(expected.values()) == {4, 8}
    assert widths(built / "model_builder" / "output") == expected


def test_every_proof_holds(built: Path) -> None:
    results = {name: plans.result(built, name) for name in ("graph", "rebuild", "quantization")}
    verdicts = {v.name: v for result in results.values() for v in result.verdicts}
    assert {v.status for v in verdicts.values()} <= {"passed", "unverified"}, verdicts
    assert "as chosen" in verdicts["chosen_widths"].detail
    assert verdicts["quantized_share"].value == 1
    rounded = len(json.loads((built / "mixed_precision/output/widths.json").read_text())["int4"])
    assert verdicts["chosen_integers"].detail.startswith(f"{rounded - 1} weights")  # lm_head is not
    for name in ("same_weights", "same_graph", "layer_scales", "mean_kl"):
        assert verdicts[name].status == "passed", verdicts[name]


def test_what_was_measured_decides(built: Path) -> None:
    metrics: Any = plans.result(built, "mixed_precision").metrics
    assert metrics["rows"] == 15  # of 24, what the split leaves to train on
    assert 0.1 < metrics["share"] <= 0.3
    assert len(metrics["nats"]) == 9
    assert 0 < metrics["left_nats"] < metrics["all_nats"]
    sizes = {"qkv_proj": 192 * 64, "o_proj": 64 * 64, "gate_up_proj": 384 * 64}
    sizes |= {"down_proj": 64 * 192, "lm_head": 448 * 64}

    def density(name: str) -> float:
        return float(metrics["nats"][name]) / sizes[name.split(".")[-2]]

    chosen = json.loads((built / "mixed_precision/output/widths.json").read_text())
    first = max(metrics["nats"], key=density)
    assert first in chosen["int8"]


def test_the_figures_are_divergences(toolchain_python: Path, tiny: Path, tmp_path: Path) -> None:
    warm_output(toolchain_python, "tests.support.sensitivities", tiny, tmp_path)
    found = json.loads((tmp_path / "found.json").read_text())
    assert found.keys() == {"phi3", "llama", "gemma3"}
    for model, groups in found.items():
        assert len(groups) == 2 * 4 + 1, model
        for group in groups:
            ratio = group["estimate"] / group["truth"]
            assert 0.6 < ratio < 1.6, (model, group)


@pytest.mark.parametrize("fault", ["another width", "lost"])
def test_an_artifact_of_other_widths_is_found(
    built: Path, toolchain_python: Path, material: Path, tmp_path: Path, fault: str
) -> None:
    work = tmp_path / "work"
    shutil.copytree(built, work)
    for name in ("graph", "rebuild"):
        shutil.rmtree(work / name)
    file = work / "mixed_precision" / "output" / "widths.json"
    chosen = json.loads(file.read_text())
    if fault == "another width":
        name = next(one for one in chosen["int8"] if "layers" in one)
        chosen["int8"].remove(name)
        chosen["int4"].append(name)
        said = "has 8 bits, not 4"
    else:
        chosen["int4"].append("model.layers.7.mlp.down_proj.weight")
        said = "no matrix of the graph is made of model.layers.7.mlp.down_proj.weight"
    file.write_text(json.dumps(chosen))
    graph, rebuild, *_ = checks(ROUNDED)
    plans.must_run(
        toolchain_python, work, material, [graph, *([rebuild] if fault != "lost" else [])]
    )
    failed = plans.failed_verdicts(work, "graph")
    assert set(failed) == {"chosen_widths"}
    assert said in failed["chosen_widths"].detail
    if fault != "lost":
        assert "same_graph" in plans.failed_verdicts(work, "rebuild")


@pytest.mark.parametrize("algorithm", ["default", "rtn"])
def test_a_rule_needs_no_data(
    toolchain_python: Path, material: Path, tmp_path: Path, algorithm: str
) -> None:
    chosen = plans.step("mixed_precision", "pass", BASE, {"choose": "k_quant_down"})
    steps = [chosen, building({}, algorithm), *checks({})[:2]]
    work = tmp_path / "work"
    plans.must_run(toolchain_python, work, material, steps)
    assert plans.failed_verdicts(work, "graph") == plans.failed_verdicts(work, "rebuild") == {}
    # Of two layers an eighth is the first alone.
    wide = {name for name, bits in widths(work / "model_builder" / "output").items() if bits == 8}
    assert wide == {"lm_head.weight", "model.layers.0.mlp.down_proj.weight"}


@pytest.mark.slow  # the tiny model above shares no weights, and is built for the CPU
@pytest.mark.parametrize(
    ("toolchain", "providers"),
    [("toolchain_python", ("cpu", "cuda", "webgpu")), ("directml_python", ("dml",))],
)
def test_other_families_and_providers_mix_widths_too(
    request: pytest.FixtureRequest,
    tiny: Path,
    tmp_path: Path,
    toolchain: str,
    providers: tuple[str, ...],
) -> None:
    python = request.getfixturevalue(toolchain)
    warm_output(python, "tests.support.mixed_models", tiny, tmp_path, *providers)
    found = json.loads((tmp_path / "found.json").read_text())
    assert len(found) == 2 * len(providers)
    for name, facts in found.items():
        assert facts["problems"] == [], name
        # Of two layers an eighth is the first alone; the builder joins query, key and value.
        first = [f"/model/layers.0/{part}" for part in ("attn/qkv_proj", "mlp/down_proj")]
        assert facts["int8"] == ["/lm_head", *first], name
        assert facts.get("beside", 0) < 0.05, name
