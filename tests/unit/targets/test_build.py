"""Results of another runtime are made again, where only one counts; the cache stays whole."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pipeline.contract.plan import OUTPUT_DIR, StepInput, object_path
from pipeline.contract.result import RESULT_FILE, FileDigest, StepResult
from targets.build import Builder, BuildOutcome
from targets.cache import Cache, made_in
from targets.config.load import load_config
from targets.devices.device import Device
from targets.disk import Need
from targets.place import Place
from targets.planner.build_plan import BuildPlan
from targets.runtimes.runtime import OnEvent, RunRequest, RuntimeName
from targets.target import load_target
from targets.toolchain.toolchain import Toolchain, ToolchainRecord
from tests.support.project import make_project


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
        on_event: OnEvent,  # noqa: ARG002
    ) -> None:
        roots = {mount.root: mount.source for mount in request.mounts}
        work = roots["work"]
        for step in request.plan.steps:
            if (roots["objects"] / object_path(step.key)).exists():
                continue  # as pipeline/run/chain.py does
            for source in step.inputs.values():
                if isinstance(source, StepInput):
                    places = (work / source.key, roots["objects"] / object_path(source.key))
                    assert any(place.exists() for place in places), source.step
            self.ran.append(step.name)
            output = work / step.key / OUTPUT_DIR
            output.mkdir(parents=True)
            (output / "model.bin").write_text(self.text)
            sha256 = hashlib.sha256(self.text.encode()).hexdigest()
            result = StepResult(
                name=step.name,
                type=step.type,
                key=step.key,
                seconds=1,
                peak_rss_bytes=1,
                files=(FileDigest(path="model.bin", bytes=len(self.text), sha256=sha256),),
                origin=request.plan.origin,
            )
            (work / step.key / RESULT_FILE).write_text(result.model_dump_json())

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

    def __init__(self, folder: Path) -> None:
        project = make_project(folder / "project")
        project.edit("[passes.merge]\n\n[passes.model_builder]\n", "")
        target = load_target("cpu")
        self.loaded = load_config(project.config, [target])
        self.place = Place(target.toolchain("linux/amd64"), Device("cpu"))
        self.cache = Cache(folder / "cache")
        self.dist = folder / "dist"
        self.view = Said()

    def build(self, runtime: Stand, only: RuntimeName | None = None) -> BuildOutcome:
        place = self.place
        return Builder(
            *(self.loaded, self.cache, place, place, lambda _toolchains: runtime, self.view, only)
        ).build(self.dist)

    def made_in(self, outcome: BuildOutcome) -> set[str]:
        found = [self.cache.find(planned.step.key) for planned in outcome.plan.steps]
        return {made_in(step.result) for step in found if step is not None}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_virtual_environments_results_serve_containers_and_that_is_said(world: World) -> None:
    world.build(Stand("venv"))
    containers = Stand("docker")
    outcome = world.build(containers)
    assert containers.ran == []
    assert outcome.report.unconfined == "made in a virtual environment"


def test_they_are_made_again_where_only_containers_count(world: World) -> None:
    first = world.build(Stand("venv"))
    made = world.cache.output(first.plan["lora"].step.key) / "model.bin"
    inode = made.stat().st_ino
    handed_out = (first.folder / "model" / "model.bin").stat().st_ino

    containers = Stand("docker")
    outcome = world.build(containers, only="docker")
    assert {"pretrain", "lora"} <= set(containers.ran)
    assert outcome.report.unconfined == ""
    assert world.made_in(outcome) == {"docker"}
    # The same bytes stay, in the cache and in dist/.
    assert made.stat().st_ino == inode
    assert (outcome.folder / "model" / "model.bin").stat().st_ino == handed_out
    assert not [line for line in world.view.lines if "reproduced" in line]

    again = Stand("docker")
    world.build(again, only="docker")
    assert again.ran == []


def test_other_bytes_are_said_and_replace_the_first(world: World) -> None:
    world.build(Stand("venv"))
    outcome = world.build(Stand("docker", "other weights"), only="docker")
    said = [line for line in world.view.lines if "was not reproduced" in line]
    assert [line.partition(" ")[0] for line in said][:2] == ["pretrain", "lora"]
    assert "a virtual environment gave other bytes" in said[0]
    assert world.made_in(outcome) == {"docker"}
    assert (world.cache.output(outcome.plan["lora"].step.key) / "model.bin").read_text() == (
        "other weights"
    )
    assert (outcome.folder / "model" / "model.bin").read_text() == "other weights"


def test_the_other_way_round_for_who_insists_on_a_virtual_environment(world: World) -> None:
    world.build(Stand("docker"))
    outcome = world.build(Stand("venv"), only="venv")
    assert world.made_in(outcome) == {"venv"}
    assert outcome.report.unconfined == "made in a virtual environment"
