"""Adapters of embeddings in one tensor, and of GPT-2's layers, are merged as they were trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.warm_process import warm_output

ROUNDING = 1e-4
"""Of fp32, as a multiple of the spread of the logits."""
FAR = 1.0


@pytest.fixture(scope="module")
def found(toolchain_python: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Merge all in one process."""
    said = warm_output(toolchain_python, "tests.support.merges", tmp_path_factory.mktemp("merges"))
    return dict(json.loads(said.splitlines()[-1]))


@pytest.mark.parametrize(
    ("case", "tied"),
    [
        ("tied embedding", True),
        ("tied head", True),
        ("head alone", False),
        ("embedding alone", False),
        ("embedding of GPT-2", False),
        ("Conv1D", True),
        ("Conv1D in 4 bits", True),
    ],
)
def test_the_merged_model_answers_as_peft_does(
    found: dict[str, Any], case: str, tied: bool
) -> None:
    """PEFT itself adds a change of both embeddings to their one tensor twice."""
    assert found[case]["merged"] < ROUNDING
    assert found[case]["base"] > FAR
    assert found[case]["tied"] is tied
    for verdict in found[case]["parts"].values():
        assert verdict.startswith("passed: ")


def test_what_peft_loads_in_part_is_refused(found: dict[str, Any]) -> None:
    assert "PEFT leaves lm_head of the adapter out" in found["head of GPT-2"]["refused"]
    assert "PEFT would load only a part of its adapter" in found["trained"]
