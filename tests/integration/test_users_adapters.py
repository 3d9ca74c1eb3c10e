"""Adapters that PEFT saved elsewhere: their merge is PEFT's own, and is proven like any other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from pipeline.contract.events import StepFailed
from pipeline.contract.plan import SourceInput, Step, StepInput
from tests.support import plans
from tests.support.plans import CHECKPOINT, material_input, must_run, output_of, step
from tests.support.warm_process import warm_output

Inputs = Mapping[str, StepInput | SourceInput]
KINDS = ("lora", "rslora", "patterns", "dora", "whole", "loha", "lokr")


@pytest.fixture(scope="module")
def adapters(toolchain_python: Path, material: Path) -> Path:
    """Return the material with adapters of the tiny model in ``adapters/``."""
    places = (material / "checkpoint", material / "adapters")
    warm_output(toolchain_python, "tests.support.users_adapters", *places)
    return material


def taken_over(kind: str) -> Step:
    folder = {"folder": material_input(f"adapters/{kind}"), "model": CHECKPOINT}
    return step(f"taken-{kind}", "pass", folder, {"folder": kind}, type="import_adapter")


@pytest.fixture(scope="module")
def merged(
    toolchain_python: Path, adapters: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return the folder in which all of them were taken over and merged, by one process."""
    work = tmp_path_factory.mktemp("merged") / "work"
    steps = [taken_over(kind) for kind in KINDS]
    for kind in KINDS:
        parts: Inputs = {"model": CHECKPOINT, "adapter": output_of(f"taken-{kind}")}
        steps.append(step(f"merge-{kind}", "pass", parts, type="merge"))
    must_run(toolchain_python, work, adapters, steps)
    return work


@pytest.fixture(scope="module")
def distances(toolchain_python: Path, adapters: Path, merged: Path) -> Mapping[str, float]:
    """Return by how much a weight of each merge differs at most from PEFT's."""
    triples = [
        path
        for kind in KINDS
        for path in (
            adapters / "checkpoint",
            adapters / "adapters" / kind,
            merged / f"merge-{kind}" / "output",
        )
    ]
    said = warm_output(toolchain_python, "tests.support.odd_checkpoints", "distance", *triples)
    return dict(zip(KINDS, map(float, said.split()), strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_the_merge_is_that_of_peft(merged: Path, distances: Mapping[str, float], kind: str) -> None:
    assert distances[kind] < 1e-5  # the sum is the same, added up in another order
    change = plans.result(merged, f"merge-{kind}").metrics["relative_change"]
    assert isinstance(change, float)
    assert change > 0.001
    taken = merged / f"taken-{kind}" / "output"
    settings = json.loads((taken / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == ""  # not a path of the machine that made it
    names = {path.name for path in taken.iterdir()}
    assert names == {"adapter_config.json", "adapter_model.safetensors"}


def test_a_tokenizer_of_its_own_is_said(
    toolchain_python: Path, adapters: Path, tmp_path: Path
) -> None:
    folder = adapters / "adapters"
    shutil.copytree(folder / "lora", folder / "templated")
    (folder / "templated" / "chat_template.jinja").write_text("{{ messages }}")
    both = [taken_over("lora"), taken_over("templated")]
    code, events, _ = plans.run(toolchain_python, tmp_path / "work", adapters, both)
    assert code == 0
    (warning,) = (event for event in events if event.event == "warning")
    assert warning.step == "taken-templated"
    assert "the chat template beside the adapter differs" in warning.message


def test_an_adapter_of_another_model_is_named(
    toolchain_python: Path, adapters: Path, tmp_path: Path
) -> None:
    """As for a model of the hub, whose files are not there when the plan is made."""
    settings = adapters / "adapters" / "lora" / "adapter_config.json"
    other = adapters / "adapters" / "other"
    other.mkdir()
    (other / settings.name).write_bytes(settings.read_bytes())
    weights = "adapter_model.safetensors"
    raw = (adapters / "adapters" / "lora" / weights).read_bytes()
    (other / weights).write_bytes(raw.replace(b"layers.1.", b"layers.7."))
    code, events, _ = plans.run(
        toolchain_python, tmp_path / "work", adapters, [taken_over("other")]
    )
    (failed,) = (event for event in events if isinstance(event, StepFailed))
    assert code == 1
    assert failed.cause == "bad_input"
    assert "there is no layer model.layers.7." in failed.message
