"""A real, pretrained model from its GGUF file to the int4 artifact, with all checks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.command import Quern
from tests.support.smollm import CONFIG, fetch_model

_SECONDS = 3 * 3600
"""On two busy cores; on two quiet ones it is a third of an hour."""
_TABLE = "[passes.model_builder]\n"
WAYS = {
    "gptq": ("[passes.gptq]\n\n", {"chosen_integers"}),
    "awq": ("[passes.awq]\n\n", {"same_function"}),
    "awq, then gptq": (
        "[passes.awq]\n\n[passes.gptq]\n\n",
        {"same_function", "chosen_integers"},
    ),
    "mixed_precision": (
        "[passes.mixed_precision]\nint8_share = 0.15\n\n",
        {"chosen_widths"},
    ),
}
"""Tables in front of that of the builder, and verdicts on what they do."""


@pytest.mark.pretrained
@pytest.mark.timeout(_SECONDS)
def test_a_pretrained_model_keeps_what_it_learns(quern: Quern, tmp_path: Path) -> None:
    fetch_model()
    dist = tmp_path / "dist"
    where = ("--config", str(CONFIG), "--dist", str(dist))
    ran = quern("build", *where, seconds=_SECONDS)
    assert ran.code == 0, ran.stdout + ran.stderr
    report = json.loads((dist / "smollm2" / "cpu" / "report.json").read_text())
    quality = report["quality"]
    assert report["status"] == "passed"
    assert any("4 bits once (GGUF, Q4_1)" in note for note in report["notes"])
    assert {verdict["status"] for verdict in report["checks"]} == {"passed"}
    assert quality["base"] < 0.6  # four tones: 0.25 by chance
    assert quality["tuned"] >= 0.85
    assert quality["tuned"] - quality["artifact"] <= 0.02
    assert sum(file["bytes"] for file in report["files"]) < 120e6
    asked = quern("try", "cricket is a wonderful sport!", *where[2:], "--config", str(CONFIG))
    assert asked.code == 0, asked.stderr
    assert asked.stdout.startswith("joy")


@pytest.mark.pretrained
@pytest.mark.timeout(_SECONDS)
@pytest.mark.parametrize(("tables", "proofs"), WAYS.values(), ids=WAYS)
def test_every_way_to_quantize_it_holds_all_proofs(
    quern: Quern, tmp_path: Path, tables: str, proofs: set[str]
) -> None:
    fetch_model()
    for beside in ("models", "tone.jsonl"):
        (tmp_path / beside).symlink_to(CONFIG.parent / beside)
    config, dist = tmp_path / CONFIG.name, tmp_path / "dist"
    config.write_text(CONFIG.read_text("utf-8").replace(_TABLE, tables + _TABLE), "utf-8")
    ran = quern("build", "--config", str(config), "--dist", str(dist), seconds=_SECONDS)
    assert ran.code == 0, ran.stdout + ran.stderr
    report = json.loads((dist / "smollm2" / "cpu" / "report.json").read_text())
    assert {verdict["status"] for verdict in report["checks"]} == {"passed"}
    given = {verdict["name"] for verdict in report["checks"]}
    assert {"logits_error", "mean_kl", "accuracy", "token_ms", *proofs} <= given
    assert report["quality"]["tuned"] - report["quality"]["artifact"] <= 0.02
