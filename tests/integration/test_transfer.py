"""A toolchain that is carried to a machine with no network, which is taken away for real."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from docker import DockerClient

from targets.cli.options import PROJECT
from targets.errors import CheckFailed
from targets.target import load_target
from targets.toolchain.base import BaseImage, Registry, adopt_base, find_base, read_recipe
from targets.toolchain.context import tar_stream
from targets.toolchain.image import ensure_image, find_image
from targets.toolchain.package_set import PackageSet, package_sets
from targets.toolchain.platforms import this_machine
from targets.toolchain.requirements import read_lock
from targets.toolchain.toolchain import Toolchain
from targets.toolchain.venv import ensure_venv, venv_python
from targets.toolchain.wheelhouse import Wheelhouse
from targets.transfer.engine_images import load, save
from targets.transfer.export_bundle import export_bundle
from targets.transfer.import_bundle import import_bundle
from targets.transfer.saved_image import read_saved
from tests.support.command import Quern
from tests.support.small_toolchains import SMALL, small_toolchain

pytestmark = pytest.mark.engine
BESIDE = "idna"
"""A wheel of the cpu lock that needs no other either."""


@pytest.fixture(scope="module")
def small(
    tmp_path_factory: pytest.TempPathFactory, docker_client: DockerClient
) -> Iterator[Toolchain]:
    folder = tmp_path_factory.mktemp("small")
    with small_toolchain(folder, docker_client, "small") as toolchain:
        yield toolchain


def with_packages(small: Toolchain) -> tuple[PackageSet, ...]:
    """Give the toolchain a set of packages that single steps need, and return it."""
    folder = small.image_dir.parent / "lm_eval"
    folder.mkdir()
    cpu = load_target("cpu").toolchain(this_machine())
    pin = next(pin for pin in read_lock(cpu.lock) if pin.name == BESIDE)
    (folder / small.lock.name).write_text(f"{pin.requirement()}\n")
    return package_sets(small)


def test_an_image_that_is_gone_is_loaded_and_is_the_same(
    small: Toolchain, docker_client: DockerClient, cache_dir: Path, tmp_path: Path
) -> None:
    built = ensure_image(docker_client, small, cache_dir, print)
    (packages,) = with_packages(small)
    bundle, cache = tmp_path / "bundle.tar", tmp_path / "cache"
    export_bundle([small], docker_client, cache_dir, bundle, print)
    docker_client.images.remove(built.tag)
    assert find_image(docker_client, small) is None

    def taken() -> list[tuple[str, str]]:
        found = import_bundle(bundle, small.platform, lambda _: small, docker_client, cache, print)
        return [(image.member, image.status) for image in found.images]

    assert taken() == [("images/base.tar", "present"), ("images/small.tar", "loaded")]
    assert find_image(docker_client, small) == built
    assert taken() == [("images/base.tar", "present"), ("images/small.tar", "present")]

    assert not Wheelhouse(cache / "wheels").missing(small)
    packages.ensure(cache, lambda line: pytest.fail(f"it is fetched: {line}"))
    assert [one.name.partition("-")[0] for one in packages.folder(cache).iterdir()] == [BESIDE]
    ensure_venv(small, cache, print)
    subprocess.run([venv_python(small, cache), "-c", f"import {SMALL}"], check=True)


def test_a_build_removes_its_own_first_stage_and_not_that_of_another(
    small: Toolchain, docker_client: DockerClient, cache_dir: Path
) -> None:
    def stages() -> set[str]:
        images = docker_client.images.list(filters={"label": "quern.stage", "dangling": True})
        return {image.labels["quern.stage"] for image in images}

    before = stages()
    base = ensure_image(docker_client, small, cache_dir, print)
    other = f"FROM {base.tag}\nLABEL quern.stage=install\n".encode()
    image, _ = docker_client.images.build(fileobj=io.BytesIO(other), rm=True)
    beside = replace(small, target="beside")
    built = ensure_image(docker_client, beside, cache_dir, print)
    try:
        assert stages() - before == {"install"}
    finally:
        docker_client.images.remove(built.tag)
        docker_client.images.remove(str(image.id))


def test_an_engine_that_has_another_image_than_it_was_given_is_seen(
    small: Toolchain, docker_client: DockerClient, cache_dir: Path, tmp_path: Path
) -> None:
    built = ensure_image(docker_client, small, cache_dir, print)
    archive = tmp_path / "small.tar"
    archive.write_bytes(b"".join(save(docker_client, built.id)))
    with archive.open("rb") as file:
        saved = read_saved(file)
    assert saved.labels["quern.toolchain"] == small.digest

    with pytest.raises(CheckFailed, match="has sha256:"):
        load(
            docker_client, replace(saved, config="0" * 64, layers=()), iter([archive.read_bytes()])
        )


@pytest.mark.slow
def test_the_shipped_toolchain_comes_to_a_machine_with_no_network(
    quern: Quern, docker_client: DockerClient, no_network: tuple[str, ...], tmp_path: Path
) -> None:
    bundle = tmp_path / "carried.tar"
    # Without its image: that would be gigabytes, and a small one is carried above.
    options = ("--target", "cpu", "--runtime", "venv", "--output", str(bundle))
    exported = quern("export-toolchain", *options)
    assert exported.code == 0, exported.stderr
    toolchain = load_target("cpu").toolchain(this_machine())
    there = ensure_image(docker_client, toolchain, quern.cache, print)

    project, home = tmp_path / "quern", tmp_path / "home"
    ignored = shutil.ignore_patterns(".nox", ".git", "dist", "__pycache__", ".*_cache")
    shutil.copytree(PROJECT, project, ignore=ignored)
    home.mkdir()
    with tarfile.open(bundle) as archive:
        archive.extractall(
            project, [one for one in archive if one.name.startswith("host/")], filter="data"
        )
    kept = {name: os.environ[name] for name in ("PATH", "DOCKER_HOST") if name in os.environ}
    environment = {
        **kept,
        "HOME": str(home),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": (project / "host").as_uri(),
    }

    def nox(*arguments: str) -> str:
        ran = subprocess.run(
            [*no_network, sys.executable, "nox", *arguments, "--json"],
            cwd=project,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    taken = json.loads(nox("-s", "import-toolchain", "--", str(bundle)))
    ready = json.loads(nox("-s", "images", "--", "--target", "cpu"))

    wheels = Wheelhouse(home / ".cache" / "quern" / "wheels")
    assert taken["wheels"] == taken["new_wheels"] > 1
    assert taken["folder"] == str(wheels.folder)
    assert not wheels.missing(toolchain)
    (packages,) = package_sets(toolchain)
    assert packages.name == "lm_eval"
    packages.ensure(wheels.folder.parent, lambda line: pytest.fail(f"it is fetched: {line}"))
    assert len([*packages.folder(wheels.folder.parent).glob("*.whl")]) > 1
    assert taken["images"] == []
    assert ready["toolchains"]["cpu"]["image"] == f"{there.tag}@{there.id}"


def test_a_base_of_a_registry_is_known_again_by_a_name_of_its_own(
    docker_client: DockerClient,
) -> None:
    shipped = read_recipe(PROJECT / "images" / "base" / "base.toml")
    reference = f"quern-test/base@sha256:{'0' * 64}"
    recipe = shipped.model_copy(update={"registry": Registry(reference=reference)})
    loaded = docker_client.images.load(b"".join(nameless_image()))[0]
    assert loaded.tags == []
    assert find_base(docker_client, recipe) is None

    adopted = adopt_base(loaded, recipe)

    assert adopted == BaseImage(recipe.imported_tag, reference)
    assert find_base(docker_client, recipe) == adopted
    docker_client.images.remove(adopted.image)


def nameless_image() -> Iterator[bytes]:
    """Yield what `docker save` writes for an image with no label and an empty layer."""
    layer = b"\0" * 10240
    files = {"diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"], "type": "layers"}
    config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": files}
    manifest = [{"Config": "config.json", "RepoTags": None, "Layers": ["layer.tar"]}]
    yield from tar_stream(
        {
            "config.json": json.dumps(config).encode(),
            "layer.tar": layer,
            "manifest.json": json.dumps(manifest).encode(),
        }
    )
