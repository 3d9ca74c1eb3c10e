"""What the tests of whole builds share: one cache, one engine, one toolchain."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from targets.errors import EnvironmentUnable
from targets.target import load_target
from targets.toolchain.engine import connect
from targets.toolchain.platforms import this_machine
from targets.toolchain.venv import ensure_venv, venv_python
from tests.conftest import shared_folder
from tests.support.browser import Browser
from tests.support.capabilities import program, skip_or_fail
from tests.support.command import Quern
from tests.support.held_builds import HeldBuilds, held_builds_in
from tests.support.release_world import ReleaseWorld, make_release_world
from tests.support.warm_process import warm_output
from tests.support.warm_runtime import WarmRuntime


@pytest.fixture(scope="session")
def cache_dir(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the cache of all tests, so that wheels, image and environment are made once.

    ``QUERN_TEST_CACHE`` names one that outlives the run, for quick work on the tests themselves.
    """
    kept = os.environ.get("QUERN_TEST_CACHE")
    if kept:
        return Path(kept).absolute()
    shared = shared_folder(pytestconfig)
    return shared / "cache" if shared else tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def quern(cache_dir: Path) -> Quern:
    """Return the command line with the tests' cache."""
    return Quern(cache_dir)


@pytest.fixture(scope="session")
def toolchain_python(cache_dir: Path) -> Path:
    """Return the interpreter of the cpu toolchain as a virtual environment."""
    toolchain = load_target("cpu").toolchain(this_machine())
    ensure_venv(toolchain, cache_dir, print)
    return venv_python(toolchain, cache_dir)


@pytest.fixture(scope="session")
def directml_python(cache_dir: Path) -> Path:
    """Return the interpreter of the directml toolchain as a virtual environment."""
    toolchain = load_target("directml").toolchain(this_machine())
    ensure_venv(toolchain, cache_dir, print)
    return venv_python(toolchain, cache_dir)


@pytest.fixture(scope="session")
def tiny(toolchain_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that `tiny_model.py` writes, made once."""
    folder = tmp_path_factory.mktemp("tiny")
    warm_output(toolchain_python, "tests.support.tiny_model", folder)
    return folder


@pytest.fixture(scope="session")
def warm_runtime(cache_dir: Path) -> Iterator[WarmRuntime]:
    """Yield a virtual environment whose processes have the libraries already."""
    with WarmRuntime(cache_dir) as warm:
        yield warm


@pytest.fixture(scope="module")
def held_builds(
    cache_dir: Path, tiny: Path, warm_runtime: WarmRuntime, tmp_path_factory: pytest.TempPathFactory
) -> HeldBuilds:
    """Return builds of the tiny model whose answers can be held to a form."""
    folder = tmp_path_factory.mktemp("held")
    return held_builds_in(folder, tiny / "checkpoint", cache_dir, warm_runtime)


@pytest.fixture(scope="module")
def material(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the tiny model and its data, to which a module may add what it needs."""
    return Path(shutil.copytree(tiny, tmp_path_factory.mktemp("material"), dirs_exist_ok=True))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let a test marked ``engine`` ask for one before anything is made for it."""
    for item in items:
        if isinstance(item, pytest.Function) and item.get_closest_marker("engine"):
            # A list of its own: pytest shares one among all parameters of a test.
            item.fixturenames = ["docker_client", *item.fixturenames]


@pytest.fixture(scope="session")
def docker_client() -> Iterator[docker.DockerClient]:
    """Yield a client of the engine."""
    try:
        client = connect()
    except EnvironmentUnable as unable:
        skip_or_fail("container", str(unable))
    yield client
    client.close()


@pytest.fixture(params=[pytest.param("docker", marks=pytest.mark.engine), "venv"])
def runtime(request: pytest.FixtureRequest) -> str:
    """Return the name of each runtime in turn."""
    return str(request.param)


@pytest.fixture(scope="session")
def qemu() -> str:
    """Return what emulates another CPU."""
    return program("other CPU", "qemu-x86_64")


@pytest.fixture(scope="session")
def chromium() -> Browser:
    """Return the browser that looks at pages."""
    return Browser(program("page", "chromium", "chromium-browser", "google-chrome"))


@pytest.fixture(scope="session")
def no_network() -> tuple[str, ...]:
    """Return the command that runs another without any network but ``lo``, which is down."""
    command = (program("offline", "unshare"), "--net")
    look = [*command, "cat", "/proc/net/dev"]
    found = subprocess.run(look, capture_output=True, text=True, check=False)
    if found.returncode:
        skip_or_fail("offline", found.stderr.strip())
    assert [line.split(":")[0].strip() for line in found.stdout.splitlines()[2:]] == ["lo"]
    return command


@pytest.fixture(scope="session")
def cpu_image(docker_client: docker.DockerClient, quern: Quern) -> None:  # noqa: ARG001 - or skip
    """Make the cpu image, so that those who have caches of their own find it in the engine."""
    _make_image(quern, "cpu")


@pytest.fixture(scope="session")
def directml_image(docker_client: docker.DockerClient, quern: Quern) -> None:  # noqa: ARG001 - or skip
    """Make the directml image, as :func:`cpu_image`."""
    _make_image(quern, "directml")


def _make_image(quern: Quern, target: str) -> None:
    ran = quern("images", "--target", target, "--runtime", "docker")
    assert ran.code == 0, ran.stderr


@pytest.fixture(scope="session")
def world(
    cpu_image: None,  # noqa: ARG001 - it is there before they build
    cache_dir: Path,
    toolchain_python: Path,
) -> Iterator[ReleaseWorld]:
    """Yield two people with the same sources, of whom the first one has made a release."""
    # Other users must be able to reach it, unlike the folders of pytest.
    folder = Path(tempfile.mkdtemp(prefix="quern-release-"))
    try:
        folder.chmod(0o755)
        yield make_release_world(folder, cache_dir, toolchain_python.parents[2])
    finally:
        shutil.rmtree(folder)
