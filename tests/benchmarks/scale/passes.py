"""Runs Quern's passes by hand-written plans, each plan in one container."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from pipeline.contract.data_spec import DataSpec
from pipeline.contract.events import Event, StepFinished, StepProgress
from pipeline.contract.plan import (
    OUTPUT_DIR,
    DataInput,
    PathRef,
    Plan,
    SourceInput,
    Step,
    StepInput,
)
from pipeline.contract.result import RESULT_FILE, StepResult
from targets.errors import PassFailed
from targets.machine import usable_cores
from targets.runtimes.docker import DockerRuntime
from targets.runtimes.runtime import Mount, ProcessLimits, RunRequest
from targets.toolchain.engine import connect
from tests.benchmarks.scale.measured import Cost
from tests.benchmarks.scale.world import World


@dataclass(frozen=True)
class Call:
    """One pass of a plan."""

    name: str
    inputs: Mapping[str, Path | str]
    """By role: a folder of this machine, or the name of a pass before it."""
    params: Mapping[str, JsonValue]
    data: Path | None = None
    """A file with the rows of the shipped example."""


@dataclass(frozen=True)
class Ran:
    """What passes took and left."""

    cost: Cost
    """Wall time with the container's start and end, peak memory of the largest pass."""
    work: Path
    progress: Mapping[str, Sequence[float]]
    """By pass: seconds from the start of the container at which it told of progress."""

    def output(self, name: str) -> Path:
        """Return what a pass made."""
        return self.work / name / OUTPUT_DIR

    def result(self, name: str) -> StepResult:
        """Return figures of a pass."""
        return StepResult.model_validate_json((self.work / name / RESULT_FILE).read_bytes())


def run_passes(
    world: World,
    folder: Path,
    calls: Sequence[Call],
    target: str = "cpu",
    memory_bytes: int | None = None,
) -> Ran:
    """Run ``calls`` in one container, with results in ``folder``.

    It may use ``memory_bytes``, by default all there is, and no swap.
    """
    work = folder / "work"
    work.mkdir()
    mounts = [Mount("work", work, writable=True)]
    steps = tuple(_step(call, target, mounts) for call in calls)
    runtime = DockerRuntime(connect(), world.cache)
    runtime.prepare(world.toolchain(target), world.say)
    request = RunRequest(
        plan=Plan(build="bench-scale", steps=steps, threads=usable_cores()),
        mounts=tuple(mounts),
        log=world.log,
        resources=ProcessLimits(memory_bytes=memory_bytes),
    )
    peaks: list[int] = [0]
    progress: dict[str, list[float]] = defaultdict(list)
    began = time.perf_counter()

    def heed(event: Event) -> None:
        if isinstance(event, StepProgress):
            progress[event.step].append(time.perf_counter() - began)
        elif isinstance(event, StepFinished):
            peaks.append(event.peak_rss_bytes)

    ending = ""
    try:
        runtime.run(world.toolchain(target), request, heed)
    except PassFailed as failed:
        ending = str(failed)
    seconds = time.perf_counter() - began
    return Ran(Cost(seconds, max(peaks), ending), work, progress)


def _step(call: Call, target: str, mounts: list[Mount]) -> Step:
    """Return the step of ``call``, whose key is its name; its folders are added to ``mounts``."""
    inputs: dict[str, StepInput | SourceInput] = {}
    for role, source in call.inputs.items():
        if isinstance(source, str):
            inputs[role] = StepInput(step=source, key=source)
        else:
            root = f"{call.name}-{role}"
            mounts.append(Mount(root, source))
            inputs[role] = SourceInput(ref=PathRef(root=root), digest=root)
    return Step(
        name=call.name,
        kind="pass",
        type=call.name,
        target=target,
        toolchain="bench-scale",
        key=call.name,
        seed=0,
        params=dict(call.params),
        inputs=inputs,
        data=None if call.data is None else _data(call.data, mounts),
    )


def _data(file: Path, mounts: list[Mount]) -> DataInput:
    mounts.append(Mount("data", file))
    return DataInput(
        name="tone",
        rows=(SourceInput(ref=PathRef(root="data", path=file.name), digest="tone"),),
        spec=DataSpec(path=file.name, prompt="What is the tone? {phrase}", completion="{tone}"),
    )
