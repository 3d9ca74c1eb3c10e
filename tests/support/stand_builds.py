"""Builds whose steps a stand-in for a runtime makes, without any ML library, in no time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.contract.events import StepFinished
from pipeline.contract.file_digest import FileDigest
from pipeline.contract.plan import OUTPUT_DIR, Step, StepInput, object_path
from pipeline.contract.result import RESULT_FILE, StepResult
from targets.build import Builder, BuildOutcome
from targets.cache import Cache, runtime_of
from targets.config.load import load_config
from targets.devices.device import Device
from targets.disk import Need
from targets.place import Place
from targets.planner.build_plan import BuildPlan
from targets.remote.shared_cache import SharedCache
from targets.runtimes.runtime import OnEvent, RunRequest, RuntimeName
from targets.systems.left_outputs import LeftOutputs
from targets.target import load_target
from targets.toolchain.toolchain import Toolchain, ToolchainRecord
from tests.support.project import make_project

OWN = """
from pipeline.contract.frozen import Frozen
from pipeline.passes.base import BasePass


class Mine(BasePass[Frozen]):
    Params = Frozen
    {body}

    def run(self, inputs, params, out_dir):
        return {{}}
"""


def write_result(work: Path, step: Step, text: str) -> None:
    """Leave a whole result of ``step`` in ``work``: one file with ``text``."""
    output = work / step.key / OUTPUT_DIR
    output.mkdir(parents=True)
    (output / "model.bin").write_text(text)
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    result = StepResult(
        name=step.name,
        type=step.type,
        key=step.key,
        seconds=1,
        peak_rss_bytes=1,
        files=(FileDigest(path="model.bin", bytes=len(text), sha256=sha256),),
    )
    (work / step.key / RESULT_FILE).write_text(result.model_dump_json())


@dataclass
class Stand:
    """A runtime whose every step writes ``text``."""

    name: RuntimeName
    text: str = "weights"
    ran: list[str] = field(default_factory=list)

    def prepare(self, toolchain: Toolchain, say: Callable[[str], None]) -> ToolchainRecord:
        say(f"ready: {toolchain.target}")
        return ToolchainRecord(toolchain.digest, self.name, "3.11")

    def run(
        self,
        toolchain: Toolchain,  # noqa: ARG002 - the runtime's interface
        request: RunRequest,
        on_event: OnEvent,
    ) -> None:
        roots = {mount.root: mount.source for mount in request.mounts}
        work = roots["work"]
        for step in request.plan.steps:
            if (roots["objects"] / object_path(step.key)).exists():
                continue  # as pipeline/run/chain.py does
            for source in step.inputs.values():
                if isinstance(source, StepInput):
                    assert self.sees(source.key, work, roots["objects"]), source.step
            self.ran.append(step.name)
            write_result(work, step, self.text)
            on_event(StepFinished(step=step.name, seconds=1, peak_rss_bytes=1))
            self.after(step)

    def sees(self, key: str, work: Path, objects: Path) -> bool:
        """Return whether a step of a process can read the output of ``key``."""
        return (work / key).exists() or (objects / object_path(key)).exists()

    def after(self, step: Step) -> None:
        """Do nothing when a step has ended; tests have something happen here."""

    def needs(self, toolchain: Toolchain) -> tuple[Need, ...]:  # noqa: ARG002
        return ()

    def limits_note(self) -> str:
        return ""


class Said:
    """A view that keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def planned(self, plan: BuildPlan) -> None:
        """Show nothing."""

    def say(self, message: str) -> None:
        self.lines.append(message)

    def event(self, event: object) -> None:
        """Show nothing."""


class World:
    """A project whose chain ends with an adapter, and a cache."""

    def __init__(self, folder: Path, own: str = "") -> None:
        """``own`` is the body of a pass of the user's that comes last; empty for none."""
        self.project = project = make_project(folder / "project")
        table = '[passes.mine]\ntype = "mine.py:Mine"\n' if own else ""
        project.edit("[passes.merge]\n\n[passes.model_builder]\n", table)
        (project.folder / "mine.py").write_text(OWN.format(body=own))
        target = load_target("cpu")
        self.loaded = load_config(project.config, [target])
        self.place = Place(target.toolchain("linux/amd64"), Device("cpu"))
        self.cache = Cache(folder / "cache")
        self.dist = folder / "dist"
        self.view = Said()

    def builder(
        self,
        runtime: Stand,
        only: RuntimeName | None = None,
        shared: SharedCache | None = None,
        left: LeftOutputs | None = None,
    ) -> Builder:
        place = self.place
        return Builder(
            *(self.loaded, self.cache, place, place, lambda _toolchains: runtime, self.view),
            *(only, shared, left),
        )

    def build(self, runtime: Stand, only: RuntimeName | None = None) -> BuildOutcome:
        return self.builder(runtime, only).build(self.dist)

    def runtime_of(self, outcome: BuildOutcome) -> set[str]:
        found = [self.cache.find(planned.step.key) for planned in outcome.plan.steps]
        return {runtime_of(step.result) for step in found if step is not None}
