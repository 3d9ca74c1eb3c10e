"""Builds whose steps run on another machine's Podman, behind SSH: as on a Docker Engine there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from docker import DockerClient

from tests.support.command import Quern
from tests.support.engine_elsewhere import SshServer, ssh_server
from tests.support.gated_builds import Surroundings, gated_project
from tests.support.own_engine import make_gated_image
from tests.support.podman import own_folder, podman_service
from tests.support.project import Project
from tests.support.system_life import BuildThere, Life, LifeInBrief

pytestmark = [pytest.mark.engine, pytest.mark.slow]


class PodmanElsewhere:
    """A Podman that has the image of gated steps, as its owner sees it."""

    name = "box"
    ended_there = "is gone from box: it was removed there"

    def __init__(self, folder: Path, address: str, ssh: SshServer) -> None:
        self.folder = folder
        self.client: DockerClient = docker.DockerClient(address, timeout=300)
        self.around = Surroundings({"PATH": ssh.path})
        self.url = ssh.url(folder / "podman.sock")

    def working(self) -> list[Path]:
        volumes = self.folder / "root" / "volumes"
        return list(volumes.glob("*/_data/work/scratch.partial"))

    def left(self) -> list[str]:
        """Return the names of all containers, and of all volumes that are no inputs."""
        containers = self.client.containers.list(all=True, ignore_removed=True)
        listed = self.client.api.volumes()["Volumes"] or ()
        volumes = [one["Name"] for one in listed if "quern.input" not in (one["Labels"] or {})]
        return sorted(map(str, [*(one.name for one in containers), *volumes]))

    def end_jobs(self) -> None:
        for one in self.client.containers.list(all=True, ignore_removed=True):
            one.remove(force=True, v=True)


@pytest.fixture(scope="module")
def place(toolchain_python: Path) -> Iterator[PodmanElsewhere]:
    with (
        own_folder("quern-podman-") as folder,
        podman_service(folder) as address,
        ssh_server() as ssh,
    ):
        box = PodmanElsewhere(folder, address, ssh)
        make_gated_image(box.client, toolchain_python, folder / "base")
        yield box


@pytest.fixture
def fresh(tmp_path: Path) -> Quern:
    return Quern(tmp_path / "cache")


@pytest.fixture
def project(tmp_path: Path, place: PodmanElsewhere) -> Project:
    made = gated_project(tmp_path / "project")
    made.config.write_text(
        f'host = "box"\n{made.config.read_text()}\n[systems.box]\ntype = "docker"\n'
        f'engine = "{place.url}"\npatience = 300\n'
    )
    return made


class TestLife(LifeInBrief, Life):
    """The same as on every system."""


def test_a_build_leaves_nothing_and_takes_nothing_that_is_not_its_own(
    fresh: Quern, place: PodmanElsewhere, project: Project
) -> None:
    place.client.volumes.create("somebodys-own")
    try:
        dist = project.folder / "dist"
        build = BuildThere(fresh, place, ["--config", str(project.config), "--dist", str(dist)])
        try:
            assert build.complete() == 0, build.said
        finally:
            build.kill()
        assert place.left() == ["somebodys-own"]
    finally:
        place.client.api.remove_volume("somebodys-own")
    assert (dist / "small/cpu/model/whole").read_text() == "half of it"
