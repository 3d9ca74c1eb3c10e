"""Rows packed into one sequence train as they do by themselves, with less padding."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pipeline.contract.plan import SourceInput, StepInput
from tests.support import plans

BASE: dict[str, StepInput | SourceInput] = {"model": plans.CHECKPOINT}
# Where all of a row is learnt, its first token shows whether the row before it is seen.
ALL_LEARNT = plans.TONES.model_copy(
    update={"spec": plans.TONES.spec.model_copy(update={"loss_on": "all"})}
)
ONE_BATCH = {
    "max_steps": 3,
    "batch_size": 64,
    "logging_steps": 1,
    "dropout": 0.0,
    "r": 4,
    "max_length": 48,
    # Steps so large that another gradient shows in the weights.
    "optimizer": "sgd",
    "learning_rate": 1.0,
    "scheduler": "constant",
}
DIFFERENCE = """
import sys
from pathlib import Path
from safetensors.torch import load_file
left, right = (load_file(Path(folder) / "adapter_model.safetensors") for folder in sys.argv[1:])
print(max(float((left[name] - right[name]).abs().max()) for name in left))
"""


@pytest.fixture(scope="module")
def work(toolchain_python: Path, material: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train on all rows at once, each by itself and packed."""
    work = tmp_path_factory.mktemp("packing") / "work"
    steps = [
        plans.step(name, "pass", BASE, {**ONE_BATCH, "packing": packing}, ALL_LEARNT, "lora")
        for name, packing in (("padded", False), ("packed", True))
    ]
    plans.must_run(toolchain_python, work, material, steps)
    return work


def figures(work: Path, name: str) -> dict[str, Any]:
    return dict(plans.result(work, name).metrics)


def test_packed_rows_have_the_loss_of_rows_by_themselves(work: Path) -> None:
    """Also after steps: their gradients are the same."""
    padded, packed = (figures(work, name)["train_loss_curve"] for name in ("padded", "packed"))
    assert [step for step, _ in packed] == [1, 2, 3]
    assert [loss for _, loss in packed] == pytest.approx([loss for _, loss in padded], abs=1e-5)


def test_packed_rows_train_the_same_adapter(work: Path, toolchain_python: Path) -> None:
    folders = (str(work / name / "output") for name in ("padded", "packed"))
    command = [str(toolchain_python), "-c", DIFFERENCE, *folders]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert float(done.stdout) < 1e-5


def test_speed_counts_what_was_trained_on(work: Path) -> None:
    for name in ("padded", "packed"):
        found = figures(work, name)
        tokens, rows = found["train_tokens"], found["train_sequences"]
        # Three times over all rows; all tokens are learnt but the first of each row.
        seen = found["tokens_per_second"] * found["training_seconds"]
        assert seen == pytest.approx(3 * tokens, rel=0.01)
        learnt = found["learnt_tokens_per_second"] / found["tokens_per_second"]
        assert learnt == pytest.approx(1 - rows / tokens, rel=0.01)
    assert 0 <= figures(work, "packed")["padding"] < figures(work, "padded")["padding"] < 1


@pytest.fixture(scope="module")
def tried(toolchain_python: Path) -> dict[str, Any]:
    """Try small models of several kinds, by plain calls and by the pass's own."""
    command = [str(toolchain_python), "-m", "tests.support.packings"]
    done = subprocess.run(command, cwd=plans.ROOT, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma3_text"])
def test_models_that_read_positions_may_be_packed(tried: dict[str, Any], kind: str) -> None:
    assert tried[kind]["leak"] < 1e-4
    assert not tried[kind]["refused"]


@pytest.mark.parametrize("kind", ["gpt_oss", "granitemoehybrid", "lfm2", "bloom", "opt"])
def test_models_whose_rows_mix_are_refused(tried: dict[str, Any], kind: str) -> None:
    """Convolutions, recurrences, ALiBi and learned positions, and masks of their own."""
    assert tried[kind]["leak"] > 0.01
    assert "packing mixes rows" in tried[kind]["refused"]
