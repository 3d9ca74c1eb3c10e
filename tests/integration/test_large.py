"""A model that memory has no room for is run layer by layer, and gives what it gives with room."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from targets.cli.options import PROJECT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found(
    toolchain_python: Path, tiny: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    script = PROJECT / "tests" / "support" / "streamed_models.py"
    scratch = tmp_path_factory.mktemp("streamed")
    done = subprocess.run(
        [str(toolchain_python), str(script), str(tiny / "checkpoint"), str(scratch)],
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def test_memory_has_no_room_for_all_weights(found: dict[str, Any]) -> None:
    assert found["fp32"] > 1.5 * found["free"]
    assert found["at_once"] == "RuntimeError"
    assert found["streamed"]
    (warning,) = found["warnings"]
    assert "the model's weights are read each time it is run: in fp32 they take 0.2 GB" in warning


@pytest.mark.parametrize("name", ["reference", "adapted", "base"])
def test_logits_are_those_of_plain_calls(found: dict[str, Any], name: str) -> None:
    assert found["rows"] >= 6
    assert found["errors"][name] < 1e-3
    assert found["errors"]["change"] > 0.1, "the adapter must change something"


def test_answers_are_those_with_room(found: dict[str, Any]) -> None:
    with_room, without = found["answers"]
    assert with_room == without
    assert all(len(ids) == 4 for ids in without)
