"""What the tests of Slurm share: a cluster on this machine, and a project that waits there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from targets.target import load_target
from targets.toolchain.platforms import this_machine
from tests.integration.conftest import (
    cache_dir,
    docker_client,
    pytest_collection_modifyitems,
    toolchain_python,
)
from tests.support.command import Quern
from tests.support.gated_builds import gated_project
from tests.support.project import Project
from tests.support.slurm import Cluster, cluster

__all__ = ["cache_dir", "docker_client", "pytest_collection_modifyitems", "toolchain_python"]


@pytest.fixture(scope="session")
def running(toolchain_python: Path) -> Iterator[Cluster]:
    with cluster() as started:
        # As if an earlier build had made it there, which takes a minute.
        place = started.shared / "toolchains"
        place.mkdir(parents=True)
        digest = load_target("cpu").toolchain(this_machine()).digest[:12]
        (place / digest).symlink_to(toolchain_python.parent.parent)
        yield started


@pytest.fixture
def place(running: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """The cluster, whose login machine this is."""
    for name, value in running.environment.items():
        monkeypatch.setenv(name, value)
    yield running
    left = running.left()
    running.end_jobs()
    assert left == []  # whatever happened, no job runs


@pytest.fixture
def fresh(tmp_path: Path) -> Quern:
    return Quern(tmp_path / "cache")


@pytest.fixture
def project(tmp_path: Path, place: Cluster) -> Project:
    """A project whose steps wait in jobs."""
    made = gated_project(tmp_path / "project")
    made.config.write_text(f'host = "hpc"\n{made.config.read_text()}{place.table()}')
    return made
