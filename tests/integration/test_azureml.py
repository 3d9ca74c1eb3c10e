"""Builds whose steps run as jobs of Azure Machine Learning: the unchanged SDK talks to a stand-in of
the control plane and to a real service of blobs, and jobs run."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.azure.job_runner import with_python
from tests.support.azure.world import AzureWorld, azure_world
from tests.support.command import Quern
from tests.support.gated_builds import GatedBuild, Surroundings, gated_project
from tests.support.project import Project

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def azure(
    toolchain_python: Path, cache_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AzureWorld]:
    packages, folder = cache_dir / "object_stores", tmp_path_factory.mktemp("azure")
    with azure_world(packages, folder, with_python(toolchain_python)) as world:
        yield world


@pytest.fixture
def world(azure: AzureWorld) -> Iterator[AzureWorld]:
    """The workspace, as it is at first."""
    yield azure
    azure.plane.refusals.clear()
    azure.plane.token_seconds = 3600
    azure.plane.stays = 0
    azure.plane.keys_allowed = True
    azure.runner.queue.set()
    assert azure.plane.left() == []


@pytest.fixture
def fresh(tmp_path: Path) -> Quern:
    return Quern(tmp_path / "cache")


@pytest.fixture
def project(tmp_path: Path, azure: AzureWorld) -> Project:
    """A project whose steps run there."""
    made = gated_project(tmp_path / "project")
    made.config.write_text(f'host = "aml"\n{made.config.read_text()}{azure.table}')
    return made


class AzureBuild(GatedBuild):
    """A gated build whose steps wait in a job."""

    def __init__(self, quern: Quern, world: AzureWorld, arguments: Sequence[str]) -> None:
        self._world = world
        super().__init__(quern, "python", arguments, Surroundings(world.environment))

    def waiting(self) -> list[Path]:
        return self._world.runner.working()


def started(quern: Quern, world: AzureWorld, project: Project, *more: str) -> AzureBuild:
    dist = str(project.folder / "dist")
    return AzureBuild(quern, world, ["--config", str(project.config), "--dist", dist, *more])


def test_a_build(fresh: Quern, world: AzureWorld, project: Project) -> None:
    build = started(fresh, world, project)
    try:
        assert build.complete() == 0, build.said
    finally:
        build.kill()
    output = project.folder / "dist/small/cpu/model"
    assert (output / "whole").read_text() == "half of it"


def test_ctrl_c_ends_the_job(fresh: Quern, world: AzureWorld, project: Project) -> None:
    build = started(fresh, world, project)
    try:
        build.reach("second ...")
        build.process.send_signal(signal.SIGINT)
        assert build.finish(120) == 130, build.said
    finally:
        build.kill()
    assert world.plane.left() == []  # at once: it waits until that is so
    again = started(fresh, world, project)
    try:
        assert again.complete() == 0, again.said
    finally:
        again.kill()
