"""The shipped example, whole, in a container: what README's first command promises."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.command import Quern


@pytest.mark.engine
@pytest.mark.usefixtures("docker_client")
def test_shipped_example_meets_its_promise(quern: Quern, tmp_path: Path) -> None:
    dist = tmp_path / "dist"
    ran = quern("build", "--dist", str(dist), "--runtime", "docker")
    assert ran.code == 0, ran.stdout + ran.stderr
    report = json.loads((dist / "tone" / "cpu" / "report.json").read_text())
    quality = report["quality"]
    assert report["status"] == "passed"
    assert quality["metric"] == "accuracy"
    assert quality["samples"] >= 200
    assert quality["artifact"] >= 0.90
    assert quality["tuned"] - quality["artifact"] <= 0.02
    assert 0.10 <= quality["base"] <= 0.45
    assert "accuracy  base" in ran.stdout

    asked = quern("try", "cricket is a wonderful sport!", "--dist", str(dist))
    assert asked.code == 0, asked.stderr
    assert asked.stdout.startswith("joy")
    assert "tokens/s" in asked.stdout
