"""Whatever a config skips, a wrong artifact fails by the check that proves that it is right.

Each build has a fault of one kind planted, and every built-in check skipped but one.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.run.registry import check_types
from tests.attack import artifact_faults
from tests.support import plans
from tests.support.command import Quern

CONFIG = """\
name = "alone"
seed = 2
skip_checks = {skipped}

[model]
source = "checkpoint"

[data.tones]
path = "tones.jsonl"
prompt = "{{phrase}}"
completion = "{{tone}}"
label = "tone"

[data.tones.split]
eval = 0.3

[passes.lora]
r = 8
max_steps = 20

[passes.join]
type = "planted.py:Join"
stale = {stale}

[passes.model_builder]

[passes.planted]
type = "artifact_faults.py:Plant"
fault = "{fault}"
"""


@dataclass(frozen=True)
class Proof:
    """What proves that an artifact has no fault of a kind."""

    check: str
    verdict: str
    fault: str = ""
    """Planted into the artifact; without one, into the merged checkpoint."""
    target: str = "cpu"


# Kind of fault -> the proof that finds it.
PROOFS = {
    "the end of an answer": Proof("generation", "answers_end", "never_ends"),
    "rotary positions": Proof("graph", "rotary_table", "rotary_of_another_base", "directml"),
    "which file is the model": Proof("merging", "merge_error"),
    "generation settings": Proof("graph", "checkpoint", "penalty"),
    "the ids that a user gets": Proof("graph", "tokenizer", "swapped_letters"),
    "sliding windows": Proof("graph", "attributes", "window_a_little_smaller"),
}
MORE = {
    "the ids that end it": Proof("graph", "tokenizer", "end_of_turn_gone"),
    "what is built of the model": Proof("rebuild", "same_weights", "one_weight"),
    "the chat that a user gets": Proof("graph", "tokenizer", "template_without_ends"),
}


@pytest.fixture(scope="module")
def project(material: Path) -> Path:
    shutil.copy(plans.HERE / "planted.py", material)
    shutil.copy(artifact_faults.__file__, material)
    return material


@pytest.mark.usefixtures("toolchain_python", "directml_python")
@pytest.mark.parametrize(
    "kind", [*PROOFS, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE)]
)
def test_a_proof_finds_a_fault_of_its_kind_alone(quern: Quern, project: Path, kind: str) -> None:
    proof = {**PROOFS, **MORE}[kind]
    skipped = [name for name in check_types() if name != proof.check]
    config = project / "alone.toml"
    text = CONFIG.format(
        skipped=json.dumps(skipped), stale=json.dumps(not proof.fault), fault=proof.fault
    )
    config.write_text(text, "utf-8")
    dist = project / "dist"
    ran = quern(
        *("build", "--config", str(config), "--dist", str(dist)),
        *("--target", proof.target, "--runtime", "venv"),
    )
    assert ran.code == 3, ran.stdout + ran.stderr
    report = json.loads((dist / "alone" / proof.target / "report.json").read_text("utf-8"))
    failed = {found["name"] for found in report["checks"] if found["status"] == "failed"}
    assert proof.verdict in failed
