"""Every fault of the catalogue is named in artifacts of every kind, by checks that read files.

``test_checks.py`` has one of each kind of fault, ``test_faults.py`` takes all through whole builds.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipeline.contract.plan import SourceInput, Step, StepInput
from targets.cli.options import PROJECT
from tests.attack.planting import MEANT
from tests.support import plans
from tests.support.warm_process import warm_output

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Kind:
    """A kind of artifact: how it is made, and of what."""

    params: Mapping[str, Any] = field(default_factory=dict)
    family: str = ""
    """Name of a family of ``tests/families``; empty for the tests' own tiny model, a Phi-3."""
    older: bool = False
    """Whether DirectML's toolchain builds it, which is of an older generation."""

    def inapplicable(self, said: Mapping[str, Any]) -> dict[str, str]:
        """Return the faults for which there is nothing in it, and why."""
        return {name: why["inapplicable"] for name, why in said.items() if "inapplicable" in why}


KINDS: Mapping[str, Kind] = {
    "int4, without options": Kind(),
    "int4, by the builder's own algorithm": Kind({"algorithm": "default"}),
    "int4 with zero points": Kind({"algorithm": "default", "symmetric": False}),
    "int4 and int8, mixed": Kind({"algorithm": "k_quant_mixed"}),
    "int4 with an int4 embedding": Kind({"embedding": "int4"}),
    "int8": Kind({"precision": "int8"}),
    "fp32": Kind({"precision": "fp32"}),
    "int4 as QDQ": Kind({"algorithm": "default", "extra_options": {"use_qdq": True}}),
    "projections apart": Kind({"fuse_qkv": False}),
    "cuda": Kind({"execution_provider": "cuda"}),
    "cuda in bf16": Kind({"execution_provider": "cuda", "bf16_io": True}),
    "directml": Kind({"execution_provider": "dml"}, older=True),
    "Qwen2.5: biases, tied embedding": Kind(family="qwen2-5"),
    "Qwen3: norms of queries and keys": Kind(family="qwen3"),
    "Gemma 2: caps, windows in every second layer": Kind(family="gemma-2"),
    "Gemma 3: two tables of positions": Kind(family="gemma-3-text"),
    "Phi-4-mini: longrope": Kind(family="phi-4-mini"),
    "SmolLM2 on directml": Kind({"execution_provider": "dml"}, family="smollm2", older=True),
    "LFM2: convolutions": Kind(family="lfm2"),
}
ELSEWHERE = {
    "a ready model, its checkpoint and how it was built": "checkpoint",
    "a ready model alone": None,
}
NEVER = 40
"""More faults than any kind lacks the parts for."""


@pytest.fixture(scope="module")
def families(toolchain_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder with the families' checkpoints."""
    folder = tmp_path_factory.mktemp("families")
    names = sorted({kind.family for kind in KINDS.values()} - {""})
    warm_output(toolchain_python, "tests.families.make", folder, *names)
    return folder


def matrix(python: Path, work: Path, step: Step, checkpoint: Path | None) -> dict[str, Any]:
    """Return what names each fault in the artifact that ``step`` made."""
    where = "-" if checkpoint is None else checkpoint
    said = warm_output(python, "tests.attack.fault_matrix", work, step.name, where)
    return dict(json.loads(said.splitlines()[-1]))


def not_named(said: Mapping[str, Any]) -> list[str]:
    """Return the faults that were planted and passed."""
    return [name for name, found in said.items() if name and found.get("named") == {}]


@pytest.mark.parametrize("name", KINDS)
def test_each_fault_is_named_in_each_kind_of_artifact(
    request: pytest.FixtureRequest, tmp_path: Path, name: str
) -> None:
    kind = KINDS[name]
    python = request.getfixturevalue("directml_python" if kind.older else "toolchain_python")
    material = request.getfixturevalue("families" if kind.family else "tiny")
    source = plans.material_input(kind.family) if kind.family else plans.CHECKPOINT
    step = plans.step("made", "pass", {"model": source}, kind.params, type="model_builder")
    plans.must_run(python, tmp_path / "work", material, [step])
    said = matrix(python, tmp_path / "work", step, material / source.ref.path)
    assert said.pop("") == {"named": {}}, "without a fault"
    assert not not_named(said)
    lacking = kind.inapplicable(said)
    assert len(lacking) < NEVER, lacking
    if not kind.params and not kind.family:
        wrong = {fault: said[fault]["named"] for fault in said.keys() - lacking.keys()}
        assert not {f: found for f, found in wrong.items() if MEANT[f] not in found}
    assert counted(name) in (None, len(said) - len(lacking))


def test_each_fault_is_named_in_an_artifact_merged_and_built_at_once(
    toolchain_python: Path, material: Path, tmp_path: Path
) -> None:
    """Held against the checkpoint that ``merge`` would have written: a build that has ``rebuild``
    writes that, and one that has not says that it was skipped."""
    work = tmp_path / "work"
    model = {"model": plans.CHECKPOINT}
    trained = plans.step("lora", "pass", model, {"r": 4, "max_steps": 2}, plans.TONES)
    given: Mapping[str, StepInput | SourceInput] = {**model, "adapter": plans.output_of("lora")}
    merged = plans.step("merge", "pass", given)
    step = plans.step("merged_builder", "pass", given)
    plans.must_run(toolchain_python, work, material, [trained, merged, step])
    said = matrix(toolchain_python, work, step, work / "merge" / "output")
    assert said.pop("") == {"named": {}}
    assert not not_named(said)


@pytest.mark.parametrize("name", ELSEWHERE)
def test_each_fault_is_named_in_a_model_that_was_built_elsewhere(
    toolchain_python: Path, material: Path, tmp_path: Path, name: str
) -> None:
    """With its checkpoint and how it was built; without, those that its own parts show."""
    work = tmp_path / "work"
    made = plans.step("made", "pass", {"model": plans.CHECKPOINT}, type="model_builder")
    plans.must_run(toolchain_python, work, material, [made])
    shutil.copytree(work / "made" / "output", material / "ready", dirs_exist_ok=True)
    folder = {"folder": plans.material_input("ready")}
    step = plans.step("import_onnx", "pass", folder, {"folder": "ready"})
    plans.must_run(toolchain_python, work, material, [step])
    checkpoint = ELSEWHERE[name]
    source = None if checkpoint is None else material / checkpoint
    said = matrix(toolchain_python, work, step, source)
    assert said.pop("") == {"named": {}}
    planted = len(said) - len(KINDS["int4, without options"].inapplicable(said))
    passed = not_named(said)
    assert row_of(name) == f"| {name} | {planted} | {planted - len(passed) if passed else 'all'} |"


def test_each_fault_is_named_in_a_tuned_artifact(
    toolchain_python: Path, material: Path, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    quick = {"prompt_tokens": 24, "new_tokens": 4, "rounds": 1, "cut_above": 0, "layers": 1}
    space = {"block_size": [16], "symmetric": [False], "algorithm": ["default"], "threads": [1]}
    params = {**quick, "space": space, "search": {"top_k": 3}}
    step = plans.step("tune", "pass", {"model": plans.CHECKPOINT}, params, plans.TONES)
    plans.must_run(toolchain_python, work, material, [step])
    said = matrix(toolchain_python, work, step, material / "checkpoint")
    assert said.pop("") == {"named": {}}
    assert not not_named(said)


def counted(name: str) -> int | None:
    """Return how many faults the page says were planted in a kind of artifact, if it does."""
    found = re.fullmatch(rf"\| {re.escape(name)} \| (\d+) \| all \|", row_of(name) or "")
    return int(found[1]) if found else None


def row_of(name: str) -> str | None:
    """Return what the page says of a kind of artifact, if it does: how many were planted, and how
    many of them are named."""
    text = (PROJECT / "docs" / "security.md").read_text("utf-8")
    found = re.search(rf"^\| {re.escape(name)} \| \d+ \| \w+ \|", text, re.M)
    return found[0] if found else None
