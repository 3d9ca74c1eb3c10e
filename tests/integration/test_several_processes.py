"""Trainings in several processes that share each batch: gloo on the CPU, as on several GPUs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.contract.data_spec import DataSpec, Split
from pipeline.contract.events import StepFailed, StepProgress
from pipeline.contract.plan import DataInput, Plan, Step
from pipeline.contract.result import StepResult
from targets.target import load_target
from targets.toolchain.platforms import this_machine
from tests.support import plans

SMALL = {
    "max_steps": 3,
    "batch_size": 2,
    "gradient_accumulation": 2,
    "dropout": 0.0,
    "max_length": 64,
    "logging_steps": 1,
}


EVEN = DataInput(
    name="even",
    rows=(plans.material_input("even.jsonl"),),
    spec=DataSpec(
        path="even.jsonl",
        prompt="{phrase}",
        completion="{tone}",
        split=Split(eval=0, validation=0),
    ),
)
"""Sixteen rows, all of them trained on."""


def lora(name: str, data: DataInput = plans.TONES, **params: object) -> Step:
    base = {"model": plans.CHECKPOINT}
    return plans.step(name, "pass", base, {**SMALL, **params}, data=data, type="lora")


def trained(python: Path, work: Path, material: Path, step: Step) -> StepResult:
    variables = load_target("cpu").toolchain(this_machine()).environment
    plans.must_run(python, work, material, [step], environment=variables)
    return plans.result(work, step.name)


@pytest.mark.slow
def test_two_processes_train_the_bytes_of_two_passes_a_step(
    toolchain_python: Path, material: Path, tmp_path: Path
) -> None:
    one = trained(toolchain_python, tmp_path / "one", material, lora("lora"))
    two = trained(toolchain_python, tmp_path / "two", material, lora("lora", gpus=2))
    assert two.files == one.files
    assert (one.metrics.get("processes"), two.metrics["processes"]) == (None, 2)
    assert two.metrics["steps"] == one.metrics["steps"] == 3
    curves: list[Any] = [result.metrics["validation_loss_curve"] for result in (one, two)]
    assert curves[0] == curves[1]
    first, second = (result.metrics["train_loss_curve"] for result in (one, two))
    assert _losses(second) == pytest.approx(_losses(first), abs=1e-5)


def _losses(curve: Any) -> dict[int, float]:
    return dict(curve)


@pytest.mark.slow
def test_a_batch_that_is_divided_is_the_same_batch(
    toolchain_python: Path, material: Path, tmp_path: Path
) -> None:
    rows = (material / "tones.jsonl").read_text("utf-8").splitlines(keepends=True)
    (material / "even.jsonl").write_text("".join(list(dict.fromkeys(rows))[:16]), "utf-8")
    halves = lora("lora", EVEN, epochs=2, max_steps=None)
    one = trained(toolchain_python, tmp_path / "one", material, halves)
    whole = {"batch_size": 4, "gradient_accumulation": 1, "epochs": 2, "max_steps": None}
    shared = lora("lora", EVEN, **whole, gpus=2)
    two = trained(toolchain_python, tmp_path / "two", material, shared)
    assert (one.metrics["train_rows"], one.metrics["steps"]) == (16, 8)
    assert two.files == one.files


@pytest.mark.slow
def test_what_is_wrong_is_said_once(toolchain_python: Path, material: Path, tmp_path: Path) -> None:
    wild = lora("lora", gpus=2, learning_rate=1e30, max_steps=300)
    code, events, _ = plans.run(toolchain_python, tmp_path / "work", material, [wild])
    (failed,) = (event for event in events if isinstance(event, StepFailed))
    assert (code, failed.cause) == (1, "bad_input")
    assert "the training loss is not a number" in failed.message
    assert any(isinstance(event, StepProgress) for event in events)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="processes end with others on Linux")
def test_all_of_them_end_with_the_step(
    toolchain_python: Path, material: Path, tmp_path: Path
) -> None:
    work, step = tmp_path / "work", lora("lora", gpus=2, max_steps=100_000)
    work.mkdir()
    roots: Mapping[str, str] = {"work": str(work), "material": str(material)}
    file = tmp_path / "plan.json"
    plan = Plan(build="test", steps=(step,), roots=dict(roots), threads=2)
    file.write_text(plan.model_dump_json())
    with subprocess.Popen(
        [str(toolchain_python), "-m", "pipeline", str(file)],
        cwd=plans.ROOT,
        env=dict(os.environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if "progress" in line)
        all_of_them = psutil.Process(process.pid).children(recursive=True)
        assert len(all_of_them) >= 3  # torchrun and its two
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 30
    while any(one.is_running() and one.status() != "zombie" for one in all_of_them):
        assert time.monotonic() < deadline, all_of_them
        time.sleep(0.1)
