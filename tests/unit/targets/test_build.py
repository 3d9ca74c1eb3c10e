"""Results of another runtime are made again, where only one counts; the cache stays whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from pipeline.contract.plan import Step
from targets.cache import Cache
from targets.config.load import load_config
from targets.runtimes.runtime import OnEvent, RunRequest
from targets.target import load_target
from targets.toolchain.toolchain import Toolchain, ToolchainRecord
from tests.support.mounts import Mounts, mounts
from tests.support.stand_builds import Stand, World, write_result

__all__ = ["mounts"]


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
    assert world.runtime_of(outcome) == {"docker"}
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
    assert world.runtime_of(outcome) == {"docker"}
    assert (world.cache.output(outcome.plan["lora"].step.key) / "model.bin").read_text() == (
        "other weights"
    )
    assert (outcome.folder / "model" / "model.bin").read_text() == "other weights"


def test_the_other_way_round_for_who_insists_on_a_virtual_environment(world: World) -> None:
    world.build(Stand("docker"))
    outcome = world.build(Stand("venv"), only="venv")
    assert world.runtime_of(outcome) == {"venv"}
    assert outcome.report.unconfined == "made in a virtual environment"


class Rootless(Stand):
    """An engine that accepts a limit and does not enforce it."""

    def prepare(self, toolchain: Toolchain, say: Callable[[str], None]) -> ToolchainRecord:
        return replace(super().prepare(toolchain, say), unconfined="limits of memory")


def test_the_report_says_what_an_engine_does_not_enforce(world: World) -> None:
    outcome = world.build(Rootless("docker"))
    assert outcome.report.unconfined == "the engine does not enforce limits of memory"


# What code of the user's can reach.


@dataclass
class Noted(Stand):
    """A runtime that notes which steps shared a process, and what each process could read."""

    processes: list[list[str]] = field(default_factory=list)
    read: list[set[str]] = field(default_factory=list)
    plants: tuple[Step, ...] = ()
    """Steps whose results the process of ``mine`` leaves too."""

    def run(self, toolchain: Toolchain, request: RunRequest, on_event: OnEvent) -> None:
        roots = {mount.root: mount.source for mount in request.mounts}
        names = [step.name for step in request.plan.steps]
        self.processes.append(names)
        self.read.append({path.name for path in roots["objects"].glob("*/*")})
        super().run(toolchain, request, on_event)
        if "mine" in names:
            for step in self.plants:
                write_result(roots["work"], step, "poison")


@pytest.fixture
def with_own_pass(tmp_path: Path) -> World:
    """Return a world with a pass of the user's after the training."""
    return World(tmp_path, own="consumes = {'adapter': 'adapter'}\n    produces = 'adapter'")


def test_code_of_the_users_runs_in_a_process_of_its_own_and_sees_its_inputs(
    with_own_pass: World,
) -> None:
    runtime = Noted("docker")
    outcome = with_own_pass.build(runtime)
    keys = {planned.step.name: planned.step.key for planned in outcome.plan.steps}
    assert ["mine"] in runtime.processes
    alone = runtime.processes.index(["mine"])
    assert runtime.read[alone] == {keys["lora"]}
    assert "lora" in runtime.processes[alone - 1]


def test_what_it_plants_for_other_steps_is_not_taken(with_own_pass: World) -> None:
    steps = [one.step for one in with_own_pass.builder(Noted("docker")).plan().steps]
    runtime = Noted("docker", plants=tuple(step for step in steps if step.name != "mine"))
    outcome = with_own_pass.build(runtime)
    assert sorted(runtime.ran) == sorted(step.name for step in steps)
    for step in steps:
        assert (with_own_pass.cache.output(step.key) / "model.bin").read_text() == "weights"
    assert (outcome.folder / "model" / "model.bin").read_text() == "weights"


# A cache that others clean, or nobody can write.


@dataclass
class Cleaned(Stand):
    """A runtime beside whose every process somebody cleans the whole cache."""

    cache: Path = Path()
    kept: set[str] = field(default_factory=set)

    def run(self, toolchain: Toolchain, request: RunRequest, on_event: OnEvent) -> None:
        super().run(toolchain, request, on_event)
        other = Cache(self.cache)
        self.kept |= {step.key for step in other.unused_since(2**40) if not other.remove(step)}


def test_what_a_running_build_reads_is_not_cleaned(world: World) -> None:
    world.build(Stand("venv"))
    project = world.loaded.file
    project.write_text(project.read_text().replace("r = 8", "r = 4"))
    changed = World.__new__(World)
    changed.__dict__ = {**vars(world), "loaded": load_config(project, [load_target("cpu")])}
    cleaning = Cleaned("venv", cache=world.cache.root)
    outcome = changed.build(cleaning)
    assert outcome.plan["pretrain"].cached is not None
    assert "lora" in cleaning.ran
    keys = {planned.step.key for planned in outcome.plan.steps if planned.cached}
    assert keys <= cleaning.kept
    assert (outcome.folder / "model" / "model.bin").read_text() == "weights"
    before = {step.name for step in Cache(world.cache.root).unused_since(2**40)}
    assert all(map(world.cache.remove, Cache(world.cache.root).unused_since(2**40))), before


def test_a_cache_that_nobody_can_write_serves_what_it_has(
    world: World, mounts: Mounts, tmp_path: Path
) -> None:
    first = world.build(Stand("venv"))
    world.cache = Cache(mounts.read_only(world.cache.root, tmp_path / "read-only"))
    world.dist = tmp_path / "elsewhere"
    idle = Stand("venv")
    outcome = world.build(idle)
    assert idle.ran == []
    assert outcome.report.files == first.report.files
    assert (world.dist / "small" / "cpu" / "model" / "model.bin").read_text() == "weights"
