"""Builds whose steps run as jobs of Azure Machine Learning: the unchanged SDK talks to a stand-in
of the control plane and to a real service of blobs, and the jobs run."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from targets.cli.options import PROJECT
from tests.support.azure.world import AzureWorld
from tests.support.command import Quern
from tests.support.gated_builds import GatedBuild, Surroundings
from tests.support.project import Project

pytestmark = pytest.mark.servers


class AzureBuild(GatedBuild):
    """A gated build whose steps wait in a job."""

    def __init__(self, quern: Quern, world: AzureWorld, arguments: Sequence[str]) -> None:
        self._world = world
        super().__init__(quern, "python", arguments, Surroundings(world.environment))

    def waiting(self) -> list[Path]:
        return self._world.runner.working()


@pytest.fixture
def fresh(tmp_path: Path) -> Quern:
    return Quern(tmp_path / "cache")


def started(quern: Quern, world: AzureWorld, project: Project, *more: str) -> AzureBuild:
    dist = str(project.folder / "dist")
    return AzureBuild(quern, world, ["--config", str(project.config), "--dist", dist, *more])


def test_a_build_and_what_it_leaves(fresh: Quern, world: AzureWorld, project: Project) -> None:
    build = started(fresh, world, project)
    try:
        assert build.complete() == 0, build.said
    finally:
        build.kill()
    output = project.folder / "dist/small/cpu/model"
    assert (output / "whole").read_text() == "half of it"
    report = json.loads((output.parent / "report.json").read_text())
    assert {step["system"] for step in report["passes"]} == {"aml"}
    assert "no network" in report["passes"][0]["unconfined"]
    assert "aml does not enforce that there is no network" in build.said
    assert "not enforced there: that there is no network" in build.said
    assert "of the compute are billed" in build.said
    sent = "".join(world.plane.bodies)
    assert "assetVersion" not in sent  # which the service refuses
    commit = ["git", "rev-parse", "HEAD"]
    head = subprocess.run(commit, cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    assert head.strip() not in sent  # the SDK would tell of the repository
    assert [*(fresh.cache / "jobs").glob("*.azureml")] == []
    # On this machine the same steps have the same keys: nothing is left to run.
    here = fresh("plan", "--config", str(project.config), "--system", "local", "--json")
    (plan,) = json.loads(here.stdout)["plans"]
    assert [step["name"] for step in plan["steps"] if not step["cached"]] == []


def test_ctrl_c_ends_the_job(fresh: Quern, world: AzureWorld, project: Project) -> None:
    build = started(fresh, world, project)
    try:
        build.reach("second ...")
        build.process.send_signal(signal.SIGINT)
        assert build.finish(120) == 130, build.said
    finally:
        build.kill()
    assert world.plane.left() == []  # at once: it waits until that is so
    assert "ending the job" in build.said


def test_a_driver_that_is_killed_is_followed_by_another(
    fresh: Quern, world: AzureWorld, project: Project
) -> None:
    build = started(fresh, world, project)
    build.reach("second ...")
    build.kill()
    (job,) = world.plane.left()
    again = started(fresh, world, project)
    try:
        assert again.complete() == 0, again.said
    finally:
        again.kill()
    assert f"going on with the job {job}" in again.said
    assert "first" in again.said
