"""What the tests of Azure Machine Learning share: a workspace on this machine, and its SDK."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import (
    cache_dir,
    docker_client,
    pytest_collection_modifyitems,
    toolchain_python,
)
from tests.support.azure.job_runner import with_python
from tests.support.azure.world import AzureWorld, azure_world
from tests.support.gated_builds import gated_project
from tests.support.project import Project

__all__ = ["cache_dir", "docker_client", "pytest_collection_modifyitems", "toolchain_python"]


@pytest.fixture(scope="session")
def azure(
    toolchain_python: Path, cache_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AzureWorld]:
    packages, folder = cache_dir / "object_stores", tmp_path_factory.mktemp("azure")
    with azure_world(packages, folder, with_python(toolchain_python)) as world:
        yield world


@pytest.fixture
def world(azure: AzureWorld, monkeypatch: pytest.MonkeyPatch) -> Iterator[AzureWorld]:
    """The workspace as it is at first, to whoever asks from this process too."""
    for name, value in azure.environment.items():
        monkeypatch.setenv(name, value)
    sdk = azure.environment["PYTHONPATH"]
    if sdk not in sys.path:  # what was imported from there stays imported
        sys.path.append(sdk)
    azure.plane.bodies.clear()
    yield azure
    azure.plane.refusals.clear()
    azure.plane.token_seconds = 3600
    azure.plane.stays = 0
    azure.plane.keys_allowed = True
    azure.plane.tokens.clear()
    azure.runner.queue.set()
    assert azure.plane.left() == []  # whatever happened, no job runs


@pytest.fixture
def project(tmp_path: Path, azure: AzureWorld) -> Project:
    """A project whose steps wait in jobs."""
    made = gated_project(tmp_path / "project")
    made.config.write_text(f'host = "aml"\n{made.config.read_text()}{azure.table}')
    return made
