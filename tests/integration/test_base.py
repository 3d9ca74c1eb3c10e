"""The base image from locked Debian packages, where neither a registry nor mmdebstrap serves."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from docker import DockerClient

from targets.cli.options import PROJECT
from targets.release.sbom.debian import debian_in
from targets.toolchain.base import (
    MAKER_LABEL,
    BaseImage,
    BaseRecipe,
    Registry,
    base_sources,
    ensure_base,
    find_base,
    packages_file,
    read_recipe,
)
from targets.toolchain.debian.assemble import assemble_rootfs
from targets.toolchain.debian.mirrors import mirrors
from targets.toolchain.debian.own_mirror import has_packages
from targets.toolchain.debian.package_lock import resolve
from targets.toolchain.engine import platform_of
from targets.toolchain.rootfs import DEBIAN_PACKAGES
from tests.support.capabilities import skip_or_fail

Run = Callable[..., str]

pytestmark = pytest.mark.engine


@pytest.fixture(autouse=True, scope="module")
def debian() -> None:
    """Make sure that there are packages to make a base of."""
    if not mirrors("bookworm"):
        skip_or_fail("Debian base", "this machine knows no mirror of Debian")


@pytest.fixture(scope="module")
def recipe() -> BaseRecipe:
    """Return the recipe with a registry that does not exist: its base is not the shipped one's."""
    shipped = read_recipe(PROJECT / "images" / "base" / "base.toml")
    nowhere = Registry(reference=f"quern-test/nowhere@sha256:{'0' * 64}")
    return shipped.model_copy(update={"registry": nowhere})


@pytest.fixture(autouse=True, scope="module")
def path_without_mmdebstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Set a ``PATH`` with everything on it but mmdebstrap."""
    folder = tmp_path_factory.mktemp("bin")
    for place in map(Path, os.environ["PATH"].split(os.pathsep)):
        for program in place.iterdir() if place.is_dir() else ():
            link = folder / program.name
            if program.name != "mmdebstrap" and not link.is_symlink():
                link.symlink_to(program)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(folder))
        yield


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def base(docker_client: DockerClient, recipe: BaseRecipe, cache: Path) -> Iterator[BaseImage]:
    yield ensure_base(docker_client, recipe, cache, print)
    docker_client.images.remove(recipe.bootstrapped_tag)


@pytest.fixture
def run(docker_client: DockerClient, base: BaseImage) -> Run:
    """Return a function that runs a command in the base, confined as a step is."""

    def call(*command: str, **options: Any) -> str:
        said = docker_client.containers.run(
            base.image, list(command), remove=True, read_only=True, network_mode="none",
            user="1234:1234", cap_drop=["ALL"], security_opt=["no-new-privileges"],
            tmpfs={"/tmp": ""},  # noqa: S108 - a private tmpfs
            **options,
        )  # fmt: skip
        return bytes(said).decode()

    return call


def test_python_has_its_libraries(run: Run) -> None:
    program = (
        "import bz2, ctypes, curses, lzma, readline, sqlite3, ssl, uuid, zlib\n"
        "lzma.decompress(lzma.compress(b'x')); zlib.compress(b'x'); bz2.compress(b'x')\n"
        "sqlite3.connect(':memory:').execute('select 1'); ssl.create_default_context()\n"
        "import pwd, sys; print(sys.version_info[:2], pwd.getpwnam('nobody').pw_uid)"
    )
    assert run("python3", "-c", program) == "(3, 11) 65534\n"
    assert run("/bin/sh", "-c", "ls -d /usr/local/bin /opt && chmod --version | head -1")


def test_the_toolchain_runs_in_it(run: Run, toolchain_python: Path) -> None:
    packages = toolchain_python.parents[1] / "lib" / "python3.11" / "site-packages"
    said = run(
        "python3", "-c", "import torch; print(torch.ones(2, 3).sum().item())",
        volumes={str(packages): {"bind": "/packages", "mode": "ro"}},
        environment={"PYTHONPATH": "/packages", "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert said == "6.0\n"


def test_what_is_in_it_is_known(
    docker_client: DockerClient, recipe: BaseRecipe, base: BaseImage, cache: Path
) -> None:
    system = debian_in(docker_client, base.image)
    listed = packages_file(recipe, cache).read_text().splitlines()

    assert (system.name, system.version) == ("debian", "12")
    assert sorted(f"{one.name} {one.version}" for one in system.packages) == listed
    assert {"python3", "libstdc++6"} <= {one.name for one in system.packages}
    assert base.identity.startswith("debian-packages:bookworm@sha256:")
    assert find_base(docker_client, recipe) == base
    assert docker_client.images.get(base.image).labels[MAKER_LABEL] == DEBIAN_PACKAGES


def test_made_again_from_nothing_it_is_the_same(
    docker_client: DockerClient, recipe: BaseRecipe, base: BaseImage, tmp_path: Path
) -> None:
    docker_client.images.remove(base.image)
    assert find_base(docker_client, recipe) is None

    assert ensure_base(docker_client, recipe, tmp_path, print) == base

    assert [file.name for file in (tmp_path / "base").iterdir()] == [
        packages_file(recipe, tmp_path).name
    ]


@pytest.mark.slow
def test_versions_that_the_mirrors_lack_are_replaced_by_theirs_and_it_is_said(
    docker_client: DockerClient, recipe: BaseRecipe, tmp_path: Path
) -> None:
    platform = platform_of(docker_client)
    lock = recipe.locks[platform]
    old = lock.package[0].model_copy(update={"version": "0", "path": "pool/main/b/old_0_all.deb"})
    stale = lock.model_copy(update={"package": (old, *lock.package[1:])})
    changed = recipe.model_copy(update={"locks": {platform: stale}})
    said: list[str] = []
    try:
        ensure_base(docker_client, changed, tmp_path, said.append)
        names = {one.name for one in debian_in(docker_client, changed.bootstrapped_tag).packages}
    finally:
        docker_client.images.remove(changed.bootstrapped_tag)

    assert f"{old.name} 0: this machine's Debian mirrors no longer have them" in said[-1]
    assert "nox -s lock -- --base" in said[-1]
    assert names == {package.name for package in lock.package}


@pytest.mark.slow
def test_a_host_without_apt_makes_the_same_of_what_debian_itself_serves(
    docker_client: DockerClient,
    recipe: BaseRecipe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lock = resolve(recipe.bootstrap, platform_of(docker_client))
    epoch = recipe.bootstrap.source_date_epoch
    by_apt = assemble_rootfs(lock, mirrors(lock.suite), epoch, tmp_path, "apt")
    changed = recipe.model_copy(update={"locks": {platform_of(docker_client): lock}})

    monkeypatch.setenv("PATH", str(tmp_path))
    if not has_packages(lock):
        skip_or_fail("Debian base", "deb.debian.org cannot be reached")
    (source,) = base_sources(docker_client, changed)
    assert source.words == "its base is made from locked Debian packages of deb.debian.org"
    base = ensure_base(docker_client, changed, tmp_path / "cache", print)
    docker_client.images.remove(base.image)
    assert base.identity == f"debian-packages:bookworm@sha256:{by_apt.sha256}"


def test_a_base_for_another_platform_is_resolved_as_well(recipe: BaseRecipe) -> None:
    for platform, lock in recipe.locks.items():
        found = resolve(recipe.bootstrap, platform)
        assert {one.name for one in found.package} == {one.name for one in lock.package}
