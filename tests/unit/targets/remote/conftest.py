"""Servers of objects: moto in each run, the others where ``nox -s tests-remote`` runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.integration.conftest import cache_dir
from tests.support.object_stores.azurite import azurite
from tests.support.object_stores.gcs import gcs
from tests.support.object_stores.moto import moto
from tests.support.object_stores.server import ObjectServer

__all__ = ["cache_dir"]

SERVERS: dict[str, Callable[[Path, Path], AbstractContextManager[ObjectServer]]] = {
    "moto": moto,
    "azurite": azurite,
    "gcs": gcs,
}


@pytest.fixture(scope="session")
def packages(cache_dir: Path) -> Path:
    """Return the folder where the packages of servers are kept."""
    return cache_dir / "object_stores"


@pytest.fixture(
    scope="session",
    params=[
        name if name == "moto" else pytest.param(name, marks=pytest.mark.servers)
        for name in SERVERS
    ],
)
def server(
    request: pytest.FixtureRequest, packages: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ObjectServer]:
    """Return each server in turn."""
    with SERVERS[request.param](packages, tmp_path_factory.mktemp(request.param)) as running:
        yield running


@pytest.fixture(scope="session")
def moto_server(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    """Return moto alone."""
    with moto(packages, tmp_path_factory.mktemp("moto")) as running:
        yield running
