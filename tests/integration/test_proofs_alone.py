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
from tests.attack.planting import copy_catalogue
from tests.support.command import Quern

CONFIG = """\
name = "alone"
seed = 2
skip_checks = {skipped}

[model]
source = "{source}"

[data.tones]
path = "{rows}"
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
type = "planted.py:Plant"
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
    "the ids that a user gets": Proof("graph", "tokenizer", "swapped_letters"),
    "sliding windows": Proof("graph", "attributes", "window_a_little_smaller"),
}
MORE = {
    "generation settings": Proof("graph", "checkpoint", "penalty"),
    "which file is the model": Proof("merging", "merge_error"),
    "rotary positions": Proof("graph", "rotary_table", "rotary_of_another_base", "directml"),
    "what the graph computes": Proof("quantization", "long_run_share", "rotary_from_2048"),
    "the ids that end it": Proof("graph", "tokenizer", "end_of_turn_gone"),
    "what is built of the model": Proof("rebuild", "same_weights", "one_weight"),
    "the chat that a user gets": Proof("graph", "tokenizer", "template_without_ends"),
}


@pytest.fixture(scope="module")
def project(material: Path) -> Path:
    copy_catalogue(material)
    return material


@pytest.fixture(scope="module")
def composing(project: Path) -> None:
    """Add a model whose tokenizer composes letters and accents, which the runtime's does not, and
    rows in which they are apart."""
    folder = Path(shutil.copytree(project / "checkpoint", project / "composing"))
    file = folder / "tokenizer.json"
    said = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps({**said, "normalizer": {"type": "NFC"}}), "utf-8")
    rows = [json.loads(line) for line in (project / "tones.jsonl").read_text("utf-8").splitlines()]
    apart = [{**row, "phrase": row["phrase"].replace("a", "a\u0301")} for row in rows]
    text = "".join(json.dumps(row) + "\n" for row in apart)
    (project / "apart.jsonl").write_text(text, "utf-8")


@pytest.mark.usefixtures("toolchain_python")
@pytest.mark.parametrize(
    "kind", [*PROOFS, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE)]
)
def test_a_proof_finds_a_fault_of_its_kind_alone(quern: Quern, project: Path, kind: str) -> None:
    proof = {**PROOFS, **MORE}[kind]
    assert proof.verdict in failed_with(quern, project, proof)


@pytest.mark.slow
@pytest.mark.usefixtures("toolchain_python", "composing")
def test_prompts_that_the_runtime_reads_otherwise_are_found_alone(
    quern: Quern, project: Path
) -> None:
    """Without a fault: it is the runtime that composes nothing."""
    proof = Proof("quality", "prompt_ids")
    failed = failed_with(quern, project, proof, stale=False, source="composing", rows="apart.jsonl")
    assert "the prompt of line" in failed["prompt_ids"]


def failed_with(
    quern: Quern,
    project: Path,
    proof: Proof,
    stale: bool | None = None,
    source: str = "checkpoint",
    rows: str = "tones.jsonl",
) -> dict[str, str]:
    """Return what failed in a build that skips all but one check, and why.

    The merged checkpoint is ``stale`` by default where no fault is planted into the artifact.
    """
    skipped = [name for name in check_types() if name != proof.check]
    config = project / "alone.toml"
    text = CONFIG.format(
        skipped=json.dumps(skipped),
        stale=json.dumps(not proof.fault if stale is None else stale),
        fault=proof.fault,
        source=source,
        rows=rows,
    )
    config.write_text(text, "utf-8")
    dist = project / "dist"
    ran = quern(
        *("build", "--config", str(config), "--dist", str(dist)),
        *("--target", proof.target, "--runtime", "venv"),
    )
    assert ran.code == 3, ran.stdout + ran.stderr
    report = json.loads((dist / "alone" / proof.target / "report.json").read_text("utf-8"))
    found = report["checks"]
    return {item["name"]: item["detail"] for item in found if item["status"] == "failed"}
