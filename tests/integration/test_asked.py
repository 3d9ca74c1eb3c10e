"""Answers and log-probabilities are those of plain transformers, row by row and without a cache."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.warm_process import warm_output


@pytest.fixture(scope="module")
def found(
    toolchain_python: Path, tiny: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    scratch = tmp_path_factory.mktemp("asked")
    places = (tiny / "checkpoint", scratch)
    said = warm_output(toolchain_python, "tests.support.asked_models", *places)
    result: dict[str, Any] = json.loads(said.splitlines()[-1])
    return result


CONTINUES = {
    "llama": True,
    "within the window": True,
    "beyond the window": False,
    "two kinds of layers": True,
    "convolutions": False,
    "no positions": False,
}


def agree(asked: Mapping[str, Any], most: float) -> None:
    assert asked["worst"] <= most
    assert asked["replies"] == asked["right"]
    assert asked["ended"] == asked["right_ended"]


@pytest.mark.parametrize("name", CONTINUES)
def test_a_model_in_pytorch(found: dict[str, Any], name: str) -> None:
    model = found["torch"][name]
    assert model.pop("continues") is CONTINUES[name]
    reading = model.pop("reading")
    assert reading["found"]["loss"] == pytest.approx(reading["right"]["loss"], abs=1e-4)
    assert reading["found"]["tokens"] == reading["right"]["tokens"] > 500
    assert len(model) == 4
    for asked in model.values():
        agree(asked, 1e-4)


def test_logits_that_are_no_numbers_are_the_worst_reading(found: dict[str, Any]) -> None:
    assert found["broken"] == 700


def test_a_penalty_changes_answers(found: dict[str, Any]) -> None:
    llama = found["torch"]["llama"]
    assert llama["6, 1.0"]["replies"] != llama["6, 1.4"]["replies"]


def test_a_template_is_rendered_by_the_runtime_as_by_transformers(found: dict[str, Any]) -> None:
    for name, (runtime, transformers) in found["onnx"]["templates"].items():
        assert runtime == transformers, name


def test_an_artifact(found: dict[str, Any]) -> None:
    onnx = found["onnx"]
    shipped = onnx["shipped"]
    assert (shipped["repetition_penalty"], shipped["num_beams"]) == (1.4, 1)
    assert (shipped["do_sample"], shipped["no_repeat_ngram_size"]) == (False, 0)
    for how in ("asked", "nothing in common", "run again"):
        agree(onnx[how], 1e-3)


@pytest.mark.parametrize("kind", ["raw", "chat"])
def test_an_artifact_gets_the_ids_of_the_runtime_and_a_difference_is_said(
    found: dict[str, Any], kind: str
) -> None:
    ids = found["onnx"]["ids"]
    composed, decomposed = ids[f"NFC, {kind}"], ids[f"NFD, {kind}"]
    begin = ids["beginning"] if kind == "raw" else []
    assert ids["beginning"] == [0]
    assert composed["asked"] == composed["transformers"] == begin + composed["runtime"]
    assert composed["problems"] == []
    assert decomposed["transformers"] == composed["transformers"]
    assert decomposed["asked"] == begin + decomposed["runtime"] != composed["asked"]
    (problem,) = decomposed["problems"]
    assert problem.startswith("the prompt of line 7 becomes ")


@pytest.mark.parametrize("family", ["QWEN3", "LLAMA3", "MISTRAL"])
def test_an_artifact_sees_tools_and_calls_as_transformers_renders_them(
    found: dict[str, Any], family: str
) -> None:
    ids = found["onnx"]["tools"][family]
    assert ids["problems"] == []
    assert ids["asked"] == ids["transformers"]


def test_a_cpu_computes_in_fp32_and_says_where_it_has_no_room(found: dict[str, Any]) -> None:
    shortages = found["shortages"]
    assert (shortages["small"], shortages["dtype"]) == ("", "torch.float32")
    assert "in fp32 they take 8796.1 GB" in shortages["huge"]
