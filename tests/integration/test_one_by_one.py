"""Weights are read, changed and written one by one, and the bytes are those of the libraries.

The tiny model of `tiny_model.py`, built and merged as Quern does and by plain library calls.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import numpy_helper
from safetensors.numpy import load_file

from pipeline.contract.plan import StepInput
from tests.support import plans
from tests.support.same_models import assert_same_model, facts
from tests.support.warm_process import warm_output

# The builder itself leaves the embedding in floats.
FLOAT = {"embedding": "float"}
DEFAULT = {**FLOAT, "algorithm": "default"}
BUILDS: Mapping[str, Mapping[str, Any]] = {
    "cpu": FLOAT,
    "cuda": {"execution_provider": "cuda"},
    "directml": {"execution_provider": "dml"},
    "default": DEFAULT,
    "asymmetric": {**DEFAULT, "symmetric": False, "block_size": 16},
    "rtn": {**FLOAT, "algorithm": "rtn", "block_size": 128},
    "rtn_asymmetric": {**FLOAT, "algorithm": "rtn_last", "symmetric": False},
    "k_quant_block": {**FLOAT, "block_size": 16},
    "k_quant_mixed": {"algorithm": "k_quant_mixed", "execution_provider": "cuda"},
    "mixed": {**DEFAULT, "mixed_precision": {"last_matmul": "int8", "mixed_layers": "int8"}},
    "bf16": {"execution_provider": "cuda", "bf16_io": True},
    "excluded": {**FLOAT, "nodes_to_exclude": ["/lm_head/MatMul"]},
    "int8": {**FLOAT, "precision": "int8"},
    "fp32": {"precision": "fp32"},
    "fp16": {"precision": "fp16", "execution_provider": "cuda"},
}
AT_ONCE: Mapping[str, Mapping[str, Any]] = {
    "qdq": {**DEFAULT, "extra_options": {"use_qdq": True}},
}
"""What cannot be quantized column by column."""
MERGES: Mapping[str, Mapping[str, Any]] = {
    "lora": {"dtype": "fp32"},
    "rslora": {"dtype": "fp32"},
    "bias": {"dtype": "fp32"},
    "dora": {"dtype": "fp32"},
    "whole_embedding": {"dtype": "fp32"},
    "embedding": {"dtype": "fp32"},
    "loha": {"dtype": "fp32"},
    "lokr": {"dtype": "fp32"},
    "qlora": {"dtype": "fp32"},
    "qlora_original": {"dtype": "fp32", "into": "original"},
}
ROTARY = {"cos_cache", "sin_cache"}
"""Computed to the last bit here, and by the CPU's own functions in the builder."""


@pytest.fixture(scope="module")
def beside(toolchain_python: Path, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder with everything made both ways."""
    folder = tmp_path_factory.mktemp("beside")
    cases = {"builds": {**BUILDS, **AT_ONCE}, "merges": MERGES}
    places = (tiny / "checkpoint", folder)
    warm_output(toolchain_python, "tests.support.beside_plain", *places, json.dumps(cases))
    return folder


def tensors(folder: Path) -> dict[str, bytes]:
    """Return the weights of a build by name."""
    model = onnx.load(str(folder / "model.onnx"))
    return {t.name: numpy_helper.to_array(t).tobytes() for t in model.graph.initializer}


@pytest.mark.parametrize("name", BUILDS)
def test_a_build_is_the_builders_own_byte_for_byte(beside: Path, name: str) -> None:
    assert facts(beside, name) == {"weights": "one by one", "warnings": []}
    assert_same_model(beside / name / "ours", beside / name / "plain")


@pytest.mark.parametrize("name", ["cpu", "cuda", "directml"])
def test_only_rotary_tables_differ_from_the_builder_in_the_cpus_arithmetic(
    beside: Path, name: str
) -> None:
    ours, untouched = (tensors(beside / name / kind) for kind in ("ours", "untouched"))
    assert list(ours) == list(untouched)
    assert {tensor for tensor in ours if ours[tensor] != untouched[tensor]} <= ROTARY


@pytest.mark.parametrize("name", AT_ONCE)
def test_what_cannot_be_done_one_by_one_is_done_at_once_and_said(beside: Path, name: str) -> None:
    found = facts(beside, name)
    assert found["weights"].startswith("at once: ")
    assert len(found["warnings"]) == 1
    assert found["warnings"][0].startswith("all weights are held in memory at once: ")
    assert_same_model(beside / name / "ours", beside / name / "plain")


def test_only_what_cannot_be_put_off_is_done_at_once(
    toolchain_python: Path, tiny: Path, tmp_path: Path
) -> None:
    places = (tiny / "checkpoint", tmp_path)
    warm_output(toolchain_python, "tests.support.streaming_faults", *places)
    found = json.loads((tmp_path / "found.json").read_text())
    for name, said in (("our_own", "a mistake of our own"), ("no_fit", "cannot be made of this")):
        error = found[name]["error"]
        assert error.startswith("StepError: the model builder failed: ")
        assert said in error
        assert (found[name]["calls"], found[name]["warnings"]) == (1, []), name
    for name, said in (("in_place", "changed in place"), ("array", "seen as an array")):
        (warning,) = found[name]["warnings"]
        assert "held in memory at once" in warning
        assert said in warning
        assert (found[name]["calls"], found[name]["error"]) == (2, ""), name


@pytest.mark.parametrize("name", MERGES)
def test_a_merge_is_pefts_own_byte_for_byte(beside: Path, name: str) -> None:
    ours, plain = (
        load_file(beside / name / kind / "model.safetensors") for kind in ("ours", "plain")
    )
    assert ours.keys() == plain.keys()
    different = [key for key in ours if ours[key].tobytes() != plain[key].tobytes()]
    assert different == []
    at_once = "at once: the adapter begins with numbers of its base"
    assert facts(beside, name)["weights"] == (at_once if name == "dora" else "one by one")


def test_merged_and_built_in_one_step_is_the_same_as_in_two(
    beside: Path, toolchain_python: Path, tiny: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny, tmp_path / "material")
    for name in ("lora", "dora"):
        shutil.copytree(beside / name / "adapter", tmp_path / "material" / name)
    work = tmp_path / "work"
    steps = []
    for name in ("lora", "dora"):
        given = {"model": plans.CHECKPOINT, "adapter": plans.material_input(name)}
        merged: Mapping[str, StepInput] = {"model": plans.output_of(f"merge-{name}")}
        steps += [
            plans.step(f"merge-{name}", "pass", given, type="merge"),
            plans.step(f"two-{name}", "pass", merged, type="model_builder"),
            plans.step(f"one-{name}", "pass", given, type="merged_builder"),
        ]
    plans.must_run(toolchain_python, work, tmp_path / "material", steps)
    for name in ("lora", "dora"):
        one, two = (work / f"{count}-{name}" / "output" for count in ("one", "two"))
        assert sorted(path.name for path in one.iterdir()) == sorted(
            path.name for path in two.iterdir()
        )
        assert_same_model(one, two)
        change = plans.result(work, f"merge-{name}").metrics["relative_change"]
        merged_facts = plans.result(work, f"one-{name}").metrics["merged"]
        assert isinstance(merged_facts, dict)
        assert merged_facts["relative_change"] == change
        assert change


def test_a_layer_read_for_two_parts_at_once_is_merged_once(toolchain_python: Path) -> None:
    assert warm_output(toolchain_python, "tests.support.merge_together") == "0 differ\n"
