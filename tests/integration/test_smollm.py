"""A real, pretrained model from its GGUF file to the int4 artifact, with all checks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.command import Quern
from tests.support.smollm import CONFIG, fetch_model

_SECONDS = 3 * 3600
"""On two busy cores; on two quiet ones it is a third of an hour."""


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
