"""Trainings that are killed on the way end with the bytes of one that never was."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.contract.events import EVENT, Event, Noted
from pipeline.contract.plan import Plan, SourceInput, Step, StepInput, unfinished_root
from pipeline.contract.result import StepResult
from pipeline.training.params import TOKENS
from tests.support import plans
from tests.support.warm_process import THREADS, warm_process

KILLED_RUN = str(plans.HERE / "killed_run.py")
STORY = plans.material_input("story.txt")
LORA = {
    "epochs": 12,
    "batch_size": 2,
    "gradient_accumulation": 3,
    "dropout": 0.1,
    "neftune_alpha": 5,
    "logging_steps": 1,
}
PRETRAIN = {"steps": 150, "layers": 1, "hidden_size": 32, "heads": 2, "batch_size": 2}
TRAININGS = [
    pytest.param("lora", LORA, id="lora"),
    pytest.param("pretrain", PRETRAIN, id="pretrain"),
    pytest.param(
        "lora", {**LORA, "group_by_length": True}, id="ordered by epoch", marks=pytest.mark.slow
    ),
    pytest.param("lora", {**LORA, "eval_steps": 3}, id="best weights", marks=pytest.mark.slow),
    pytest.param("lora", {**LORA, "packing": True}, id="packing", marks=pytest.mark.slow),
    pytest.param("qlora", LORA, id="qlora", marks=pytest.mark.slow),
    pytest.param("loftq", LORA, id="loftq", marks=pytest.mark.slow),
    pytest.param(
        "full_finetune",
        {"epochs": 12, "batch_size": 2, "logging_steps": 1, "optimizer": "adafactor"},
        id="all weights",
        marks=pytest.mark.slow,
    ),
]


@pytest.fixture(scope="module", autouse=True)
def story(material: Path) -> None:
    (material / "story.txt").write_text("Once upon a time. There was a mill.\n\nThe end.\n\n" * 50)


@pytest.mark.parametrize(("kind", "params"), TRAININGS)
def test_killed_at_random_it_ends_with_the_same_bytes(
    toolchain_python: Path, material: Path, tmp_path: Path, kind: str, params: dict[str, Any]
) -> None:
    whole = _step(kind, params)
    plans.must_run(toolchain_python, tmp_path / "whole", material, [whole])
    right = plans.result(tmp_path / "whole", whole.name)

    killed = _step(kind, {**params, "save_steps": 2})
    run = _Runs(toolchain_python, material, tmp_path / "killed", killed)
    found = _killed_again_and_again(run, tmp_path / "killed", killed)
    assert found.files == right.files
    assert _curves(found) == _curves(right)


@pytest.mark.parametrize(
    "params", [LORA, pytest.param({**LORA, "packing": True}, marks=pytest.mark.slow)]
)
def test_on_tokens_that_a_step_made_it_ends_with_the_bytes_of_one_that_made_its_own(
    toolchain_python: Path, material: Path, tmp_path: Path, params: dict[str, Any]
) -> None:
    limits = {"max_length": 1024, "too_long": "drop"}
    made = plans.step("tokenize", "pass", {"model": plans.CHECKPOINT}, limits, data=plans.TONES)
    plans.must_run(toolchain_python, tmp_path / "whole", material, [made, _step("lora", params)])
    right = plans.result(tmp_path / "whole", "lora")

    inputs: dict[str, StepInput | SourceInput] = {
        "model": plans.CHECKPOINT,
        TOKENS: plans.output_of("tokenize"),
    }
    killed = plans.step("lora", "pass", inputs, {**params, "save_steps": 2}, data=plans.TONES)
    run = _Runs(toolchain_python, material, tmp_path / "killed", killed)
    shutil.copytree(tmp_path / "whole" / "tokenize", tmp_path / "killed" / "tokenize")
    found = _killed_again_and_again(run, tmp_path / "killed", killed)
    assert found.files == right.files
    assert _curves(found) == _curves(right)


@pytest.mark.parametrize("kind", ["gptq", "awq"])
def test_rounding_goes_on_after_the_layers_that_were_done(
    toolchain_python: Path, material: Path, tmp_path: Path, kind: str
) -> None:
    whole = _step(kind, {})
    plans.must_run(toolchain_python, tmp_path / "whole", material, [whole])
    killed = _step(kind, {"save_layers": 1})
    run = _Runs(toolchain_python, material, tmp_path / "killed", killed)
    code, events = run.killed(1, 0)
    assert code == -9, events
    code, events = run.once()
    assert code == 0, events
    assert [note for note in _notes(events) if "goes on after layer 1, " in note]
    found, right = (plans.result(tmp_path / name, kind) for name in ("killed", "whole"))
    assert found.files == right.files
    assert found.metrics == {**right.metrics, "save_layers": 1}


@pytest.mark.parametrize("tied", [True, False])
def test_a_measurement_goes_on_before_the_layers_it_went_back_through(
    toolchain_python: Path, material: Path, tmp_path: Path, tied: bool
) -> None:
    layers = 8
    deep = {**PRETRAIN, "steps": 2, "layers": layers, "tie_embeddings": tied}
    base = plans.step(
        "base", "pass", {"text": STORY}, {"text": "story.txt", **deep}, None, "pretrain"
    )
    inputs = {"model": plans.output_of("base")}

    def measuring(params: Mapping[str, Any]) -> Step:
        given = {"int8_share": 0.3, **params}
        return plans.step("mixed_precision", "pass", inputs, given, plans.TONES)

    plans.must_run(toolchain_python, tmp_path / "whole", material, [base, measuring({})])
    run = _Runs(toolchain_python, material, tmp_path / "killed", measuring({"save_layers": 1}))
    shutil.copytree(tmp_path / "whole" / "base", tmp_path / "killed" / "base")
    chance, went_on = random.Random(tied), 0  # noqa: S311
    for most in (3, 1):
        # Each run goes forward through all layers and asks for tokens before it goes back.
        code, events = run.killed(layers + 1 + chance.randint(1, most), chance.uniform(0, 0.02))
        assert code == -9, events
        went_on += any("goes on after layer" in note for note in _notes(events))
    assert went_on
    code, events = run.once()
    assert code == 0, events
    assert any("goes on after layer" in note for note in _notes(events))
    found, right = (
        plans.result(tmp_path / name, "mixed_precision") for name in ("killed", "whole")
    )
    assert found.files == right.files
    assert found.metrics == {**right.metrics, "save_layers": 1}


def test_a_snapshot_that_is_damaged_or_half_written_is_not_used(
    toolchain_python: Path, material: Path, tmp_path: Path
) -> None:
    whole = _step("pretrain", PRETRAIN)
    plans.must_run(toolchain_python, tmp_path / "whole", material, [whole])
    killed = _step("pretrain", {**PRETRAIN, "save_steps": 2})
    run = _Runs(toolchain_python, material, tmp_path / "killed", killed)
    code, _ = run.killed(5, 0)
    assert code == -9
    states = list(run.unfinished.glob("checkpoint-*/states.pt"))
    assert states
    for file in states:
        weights = bytearray(file.read_bytes())
        weights[len(weights) // 2] ^= 1
        file.write_bytes(weights)
    (run.unfinished / "checkpoint-99").mkdir()
    (run.unfinished / "checkpoint-99" / "states.pt").write_bytes(b"begun")
    code, events = run.once()
    assert code == 0, events
    assert not any("goes on after step" in note for note in _notes(events))
    right = plans.result(tmp_path / "whole", "pretrain")
    assert plans.result(tmp_path / "killed", "pretrain").files == right.files


@pytest.mark.parametrize("kind", ["evaluate", "quality"])
def test_an_evaluation_asks_nothing_again(
    toolchain_python: Path, material: Path, tmp_path: Path, kind: str
) -> None:
    artifact = tmp_path / "killed" / "model_builder"
    steps = {
        "evaluate": plans.step(
            "evaluate", "pass", {"model": plans.CHECKPOINT}, {"batch_size": 2}, data=plans.TONES
        ),
        "quality": plans.step(
            "quality", "check", {"artifact": plans.output_of("model_builder")}, data=plans.TONES
        ),
    }
    run = _Runs(toolchain_python, material, tmp_path / "killed", steps[kind])
    build = plans.step("model_builder", "pass", {"model": plans.CHECKPOINT})
    plans.must_run(toolchain_python, artifact.parent, material, [build])
    code, _ = run.once()
    assert code == 0
    right = plans.result(artifact.parent, kind)
    (log,) = run.unfinished.iterdir()
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(lines[: len(lines) // 2]) + lines[-1][:20])
    shutil.rmtree(artifact.parent / kind)
    code, events = run.once()
    assert code == 0
    answered = sum(len(json.loads(line)["indices"]) for line in lines[: len(lines) // 2])
    assert any(note.startswith(f"{answered} of ") for note in _notes(events))
    found = plans.result(artifact.parent, kind)
    assert (found.files, found.metrics) == (right.files, right.metrics)
    assert (found.verdicts, found.evidence) == (right.verdicts, right.evidence)


def _killed_again_and_again(run: _Runs, work: Path, step: Step) -> StepResult:
    """Return the result of a training that was killed at random moments, and went on each time."""
    chance = random.Random(step.type + str(step.params))  # noqa: S311
    resumed = 0
    for _ in range(3):
        # Each run gets further than the next snapshot.
        code, events = run.killed(chance.randint(5, 8), chance.uniform(0, 0.03))
        assert code == -9, events
        resumed += any("goes on after step" in note for note in _notes(events))
    assert resumed
    code, events = run.once()
    assert code == 0, events
    assert any("goes on after step" in note for note in _notes(events))
    assert len(list(run.unfinished.glob("checkpoint-*"))) <= 1
    return plans.result(work, step.name)


class _Runs:
    """Runs of one step whose process may be killed, and what they leave."""

    def __init__(self, python: Path, material: Path, work: Path, step: Step) -> None:
        self.unfinished = work.parent / "unfinished"
        self.unfinished.mkdir()
        work.mkdir()
        roots = {"work": str(work), "material": str(material)}
        roots[unfinished_root(step.key)] = str(self.unfinished)
        plan = Plan(build="test", steps=(step,), roots=roots, threads=THREADS)
        self._python = python
        self._plan = work.parent / "plan.json"
        self._plan.write_text(plan.model_dump_json(), "utf-8")
        self._said = work.parent / "events"
        self._log = work.parent / "log"

    def once(self) -> tuple[int, list[Event]]:
        """Run to the end."""
        return self._run("pipeline", [str(self._plan)], os.environ)

    def killed(self, reports: int, seconds: float) -> tuple[int, list[Event]]:
        """Run until ``seconds`` after a number of reports of progress."""
        arguments = [str(self._plan), str(self._said), str(reports), str(seconds)]
        return self._run(KILLED_RUN, arguments, {**os.environ, "PYTHONPATH": str(plans.ROOT)})

    def _run(
        self, module: str, arguments: list[str], environment: Mapping[str, str]
    ) -> tuple[int, list[Event]]:
        process = warm_process(self._python)
        code = process.run(module, arguments, self._said, self._log, environment)
        lines = self._said.read_text("utf-8").splitlines(keepends=True)
        assert code in (0, -9), self._log.read_text("utf-8")[-3000:]
        return code, [EVENT.validate_json(line) for line in lines if line.endswith("\n")]


def _step(kind: str, params: Mapping[str, Any]) -> Step:
    if kind == "pretrain":
        return plans.step("pretrain", "pass", {"text": STORY}, {"text": "story.txt", **params})
    return plans.step(kind, "pass", {"model": plans.CHECKPOINT}, params, data=plans.TONES)


def _notes(events: list[Event]) -> list[str]:
    return [event.message for event in events if isinstance(event, Noted)]


def _curves(result: StepResult) -> dict[str, Any]:
    names = ("loss_curve", "train_loss_curve", "validation_loss_curve", "best_step", "steps")
    return {name: result.metrics.get(name) for name in names}
