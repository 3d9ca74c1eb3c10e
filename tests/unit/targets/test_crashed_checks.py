"""A check whose process crashes has failed; what comes after it runs, in another process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pipeline.contract.events import Event, StepFinished
from pipeline.contract.kinds import StepKind
from pipeline.contract.plan import Plan, Step
from pipeline.contract.result import StepResult
from targets.crashed_checks import run_plan
from targets.disk import Need
from targets.errors import PassFailed, ProcessCrashed
from targets.intake import take_in
from targets.runtimes.runtime import Mount, OnEvent, RunRequest, RuntimeName
from targets.toolchain.toolchain import Toolchain, ToolchainRecord
from tests.support.runtime_support import toolchain


def a_step(name: str, kind: StepKind = "check") -> Step:
    return Step(
        name=name, kind=kind, type=name, target="cpu", toolchain="t", key=f"{name}-key", seed=0
    )


@dataclass
class Crashing:
    """A runtime in which some steps end the process by a signal."""

    crashing: Sequence[str]
    how: str = "ended by SIGSEGV (Segmentation fault)"
    name: RuntimeName = "venv"
    processes: list[list[str]] = field(default_factory=list)

    def prepare(self, toolchain: Toolchain, say: Callable[[str], None]) -> ToolchainRecord:
        say(f"ready: {toolchain.target}")
        return ToolchainRecord(toolchain.digest, self.name, "3.11")

    def needs(self, toolchain: Toolchain) -> tuple[Need, ...]:  # noqa: ARG002
        return ()

    def limits_note(self) -> str:
        return ""

    def run(
        self,
        toolchain: Toolchain,  # noqa: ARG002 - the runtime's interface
        request: RunRequest,
        on_event: OnEvent,
    ) -> None:
        (work,) = (mount.source for mount in request.mounts)
        self.processes.append([step.name for step in request.plan.steps])
        for step in request.plan.steps:
            if step.name in self.crashing:
                (work / f"{step.key}.partial").mkdir()
                raise ProcessCrashed(step.name, self.how)
            (work / step.key / "output").mkdir(parents=True)
            done = StepResult(
                name=step.name, type=step.type, key=step.key, seconds=1, peak_rss_bytes=1
            )
            (work / step.key / "result.json").write_text(done.model_dump_json())
            on_event(StepFinished(step=step.name, seconds=1, peak_rss_bytes=1))


def run(runtime: Crashing, steps: Sequence[Step], folder: Path) -> tuple[Path, list[str]]:
    """Run ``steps``; return the work folder, and which steps were said to be finished."""
    work = folder / "work"
    work.mkdir()
    request = RunRequest(
        Plan(build="test", steps=tuple(steps)),
        (Mount("work", work, writable=True),),
        folder / "log",
    )
    events: list[Event] = []
    run_plan(runtime, toolchain(folder), request, work, events.append)
    return work, [event.step for event in events if isinstance(event, StepFinished)]


def test_the_check_has_failed_and_the_others_run(tmp_path: Path) -> None:
    steps = [a_step("model_builder", "pass"), *map(a_step, ("graph", "generation", "size"))]
    runtime = Crashing(["graph", "generation"])
    work, finished = run(runtime, steps, tmp_path)
    names = [step.name for step in steps]
    assert runtime.processes == [names, names[2:], names[3:]]
    assert finished == names
    verdicts = {step.name: take_in(step, work / step.key, {}).verdicts for step in steps}
    for name in ("graph", "generation"):
        (verdict,) = verdicts[name]
        assert (verdict.name, verdict.status) == ("usable", "failed")
        assert "ended by SIGSEGV (Segmentation fault)" in verdict.detail
    assert verdicts["size"] == ()


def test_a_pass_that_crashes_breaks_the_build(tmp_path: Path) -> None:
    steps = [a_step("model_builder", "pass"), a_step("graph")]
    runtime = Crashing(["model_builder"])
    with pytest.raises(PassFailed, match="model_builder broke: ended by SIGSEGV"):
        run(runtime, steps, tmp_path)
    assert runtime.processes == [["model_builder", "graph"]]


def test_what_a_crashed_process_left_in_place_of_the_result_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    step = a_step("graph")

    class Planting(Crashing):
        def run(self, toolchain: Toolchain, request: RunRequest, on_event: OnEvent) -> None:
            (mount,) = request.mounts
            (mount.source / step.key).symlink_to(elsewhere)
            super().run(toolchain, request, on_event)

    with pytest.raises(PassFailed, match="graph broke"):
        run(Planting(["graph"]), [step], tmp_path)
    assert list(elsewhere.iterdir()) == []
