"""What a fine-tune measures does not depend on its batches, and no step of it gets lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.contract.data_spec import Split
from pipeline.contract.plan import SourceInput, StepInput
from tests.support import plans
from tests.support.warm_process import warm_code

BASE: dict[str, StepInput | SourceInput] = {"model": plans.CHECKPOINT}
# Answers of different lengths, so that batches differ in their number of tokens.
VALIDATED = plans.TONES.model_copy(
    update={
        "spec": plans.TONES.spec.model_copy(
            update={"split": Split(validation=0.4), "loss_on": "all"}
        )
    }
)
FEW = {"max_steps": 2, "r": 4, "learning_rate": 0.01, "keep": "last", "dropout": 0.0}
WAYS = {
    "one": {"eval_batch_size": 1},
    "three": {"eval_batch_size": 3},
    "all": {"eval_batch_size": 64},
}
# Steps of 1e-4 beside weights of about 0.02, whose neighbours in bf16 are 1e-4 away.
BF16 = {**FEW, "precision": "bf16", "modules_to_save": ["embed_tokens"], "learning_rate": 1e-5}
KEPT = """
import sys
from pathlib import Path
import torch
from safetensors.torch import load_file
base, adapter = (Path(folder) for folder in sys.argv[1:])
before = load_file(base / "model.safetensors")["model.embed_tokens.weight"].to(torch.bfloat16)
name = "base_model.model.model.embed_tokens.weight"
after = load_file(adapter / "adapter_model.safetensors")[name]
moved = (after != before.float()).any(dim=1)
print(after.dtype, int(moved.sum()), float((after - before.float()).abs().max()))
"""


@pytest.fixture(scope="module")
def work(toolchain_python: Path, material: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("precision") / "work"
    steps = [
        plans.step(name, "pass", BASE, {**FEW, **way}, VALIDATED, "lora")
        for name, way in WAYS.items()
    ]
    steps.append(plans.step("bf16", "pass", BASE, BF16, plans.TONES, "lora"))
    plans.must_run(toolchain_python, work, material, steps)
    return work


def validation(work: Path, name: str) -> list[float]:
    curve: Any = plans.result(work, name).metrics["validation_loss_curve"]
    return [loss for _, loss in curve]


def test_the_validation_loss_is_that_of_all_tokens(work: Path) -> None:
    """As of one batch with all rows, whose loss transformers computes over all of its tokens."""
    right = validation(work, "all")
    assert right
    for name in ("one", "three"):
        assert validation(work, name) == pytest.approx(right, abs=2e-5)


def test_what_is_trained_whole_is_trained_in_fp32(
    toolchain_python: Path, material: Path, work: Path
) -> None:
    folders = (material / "checkpoint", work / "bf16" / "output")
    dtype, moved, most = warm_code(toolchain_python, KEPT, *folders).split()
    assert dtype == "torch.float32"
    assert int(moved) > 10
    assert 1e-6 < float(most) < 5e-5  # two steps of at most 1e-5, which bf16 could not hold
