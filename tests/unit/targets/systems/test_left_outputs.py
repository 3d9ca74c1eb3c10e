"""Merged checkpoints stay on the system that made them; all else comes home."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pipeline.contract.plan import object_path
from pipeline.contract.result import read_result
from targets.build import BuildOutcome
from targets.runtimes.runtime import OnEvent, RunRequest
from targets.systems.left_outputs import LeftOutputs
from targets.systems.system import System
from targets.toolchain.toolchain import Toolchain
from tests.support.key_files import public_file
from tests.support.stand_builds import Stand, World
from tests.support.team import Member


@dataclass
class Box:
    """A system that keeps what is left on it in a folder."""

    folder: Path
    name: str = "box"
    where: str = "box (ssh://box)"
    asked: int = 0

    def has(self, tree: str) -> bool:
        self.asked += 1
        return (self.folder / tree).exists()


@dataclass
class OnBox(Stand):
    """A stand-in for the runtime of that system: trees are named by their keys."""

    box: Box = field(kw_only=True)
    left: LeftOutputs = field(kw_only=True)

    def run(self, toolchain: Toolchain, request: RunRequest, on_event: OnEvent) -> None:
        super().run(toolchain, request, on_event)
        (work,) = (mount.source for mount in request.mounts if mount.root == "work")
        for key in request.may_stay:
            result = read_result(work / key)
            shutil.rmtree(self.box.folder / key, ignore_errors=True)
            (work / key).rename(self.box.folder / key)
            self.left.note(result.model_copy(update={"origin": request.plan.origin}), key)

    def sees(self, key: str, work: Path, objects: Path) -> bool:
        return super().sees(key, work, objects) or (self.box.folder / key).exists()


@dataclass
class Builds:
    """Builds of one cache, on the box and here."""

    world: World
    box: Box

    def on_box(self, *, leaves: bool = True) -> tuple[BuildOutcome, list[str]]:
        left = LeftOutputs(self.world.cache.root, cast("System", self.box), leaves=leaves)
        runtime = OnBox("docker", box=self.box, left=left)
        return self.world.builder(runtime, left=left).build(self.world.dist), runtime.ran

    def here(self) -> tuple[BuildOutcome, list[str]]:
        runtime = Stand("docker")
        left = LeftOutputs(self.world.cache.root)
        return self.world.builder(runtime, left=left).build(self.world.dist), runtime.ran

    def output(self, outcome: BuildOutcome, step: str) -> Path:
        return self.world.cache.output(outcome.plan[step].step.key)

    def forget(self, outcome: BuildOutcome, step: str) -> None:
        """Have that step made anew."""
        shutil.rmtree(self.world.cache.objects / object_path(outcome.plan[step].step.key))


MERGE, READS_IT = "merge-for-checks", "evaluate-tuned"


@pytest.fixture
def builds(tmp_path: Path) -> Builds:
    (tmp_path / "box").mkdir()
    return Builds(World(tmp_path / "world"), Box(tmp_path / "box"))


def test_only_the_merged_checkpoint_stays(builds: Builds) -> None:
    made, ran = builds.on_box()
    assert {"lora", MERGE, READS_IT} <= {*ran}
    stayed = [step for step in ran if not builds.output(made, step).exists()]
    assert stayed == [MERGE]
    assert made.results[MERGE].files
    assert MERGE in {step.name for step in made.report.passes}


@pytest.mark.parametrize("here", [True, False])
def test_what_is_unchanged_needs_it_nowhere(builds: Builds, here: bool) -> None:
    builds.on_box()
    again, ran = builds.here() if here else builds.on_box()
    assert ran == []
    assert builds.box.asked == 0
    reasons = {step.name: step.reason for step in again.report.passes}
    assert (reasons[MERGE], reasons["lora"]) == ("cached (on box)", "cached")


def test_a_step_that_reads_it_runs_where_it_is(builds: Builds) -> None:
    made, _ = builds.on_box()
    builds.forget(made, READS_IT)
    assert builds.on_box()[1] == [READS_IT]
    builds.forget(made, READS_IT)
    assert builds.here()[1] == [MERGE, READS_IT]
    # Then it is here, and the box has nothing that this machine lacks.
    builds.forget(made, READS_IT)
    assert builds.here()[1] == [READS_IT]


def test_it_is_made_again_where_it_was_removed(builds: Builds) -> None:
    made, _ = builds.on_box()
    builds.forget(made, READS_IT)
    shutil.rmtree(builds.box.folder / made.plan[MERGE].step.key)
    assert builds.on_box()[1] == [MERGE, READS_IT]


def test_another_system_has_none_of_it(builds: Builds) -> None:
    made, _ = builds.on_box()
    builds.forget(made, READS_IT)
    builds.box = Box(builds.box.folder.with_name("another"), where="box (ssh://another)")
    builds.box.folder.mkdir()
    assert builds.on_box()[1] == [MERGE, READS_IT]


def test_it_comes_home_where_that_is_asked_for(builds: Builds) -> None:
    made, ran = builds.on_box(leaves=False)
    assert all(builds.output(made, step).exists() for step in ran)


def test_a_damaged_note_is_none(builds: Builds) -> None:
    builds.on_box()
    (note,) = (builds.world.cache.root / "left").glob("*.json")
    note.write_text("{")
    assert builds.here()[1] == [MERGE]


def test_the_shared_cache_learns_of_its_result(tmp_path: Path) -> None:
    (tmp_path / "share").mkdir()
    (tmp_path / "box").mkdir()
    remote = f"file://{tmp_path}/share"
    first, second = (Member(tmp_path / name, remote, push=True) for name in ("one", "two"))
    box = Box(tmp_path / "box")
    left = LeftOutputs(first.world.cache.root, cast("System", box))
    shared = first.shared()
    runtime = OnBox("docker", box=box, left=left)
    first.world.builder(runtime, shared=shared, left=left).build(first.world.dist)
    shared.finish()
    assert MERGE in runtime.ran
    second.build()
    assert second.ran == []


def test_one_made_of_what_is_not_trusted_any_more_is_made_again(tmp_path: Path) -> None:
    for folder in ("share", "box"):
        (tmp_path / folder).mkdir()
    remote = f"file://{tmp_path}/share"
    thief, one = (
        Member(tmp_path / name, remote, push=name == "thief") for name in ("thief", "one")
    )
    made = thief.build()
    for record in (tmp_path / "share" / "results").rglob("*.json"):
        if record.stem != made.plan["lora"].step.key:
            record.unlink()
    box = Box(tmp_path / "box")
    left = LeftOutputs(one.world.cache.root, cast("System", box))

    def ran() -> list[str]:
        runtime = OnBox("docker", box=box, left=left)
        one.world.builder(runtime, shared=one.shared(), left=left).build(one.world.dist)
        return runtime.ran

    first = ran()
    assert MERGE in first
    assert "lora" not in first
    assert ran() == []
    one.trust = [public_file(tmp_path, Ed25519PrivateKey.generate())]
    assert {"lora", MERGE, READS_IT} <= {*ran()}
    assert ran() == []
