"""Single files of locked Debian packages, taken from packages that the cache has."""

from __future__ import annotations

import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
import tomli_w

from targets.errors import EnvironmentUnable
from targets.target import load_target
from targets.toolchain.debian.extra_files import RECIPE, extra_files
from targets.toolchain.debian.packages import PackageLock
from targets.toolchain.toolchain import Toolchain
from tests.support.debian_packages import SmallPackage

DRIVER, LOADER = "./usr/lib/driver.so", "./usr/lib/loader.so"


def toolchain_with(folder: Path, package: SmallPackage, *taken: str) -> Toolchain:
    """Return a toolchain that takes files of ``package``, which is in the cache ``folder``."""
    images, kept = folder / "images", folder / "packages"
    images.mkdir()
    kept.mkdir()
    locked = package.locked()
    (kept / f"{locked.sha256}.deb").write_bytes(package.deb())
    recipe = {"suite": "bookworm", "packages": {package.name: list(taken)}}
    (images / RECIPE).write_text(tomli_w.dumps(recipe))
    toolchain = replace(load_target("cpu").toolchain("linux/amd64"), image_dir=images)
    lock = PackageLock(suite="bookworm", requested=(package.name,), package=(locked,))
    toolchain.files_lock.write_text(tomli_w.dumps(lock.model_dump(mode="json")))
    return toolchain


def test_only_what_is_named_is_taken(tmp_path: Path) -> None:
    package = SmallPackage(members=[(DRIVER, b"driver"), (LOADER, b"loader")])
    toolchain = toolchain_with(tmp_path, package, "usr/lib/driver.so")
    assert extra_files(toolchain, tmp_path, print) == {"thing/driver.so": b"driver"}


def test_most_toolchains_have_none(tmp_path: Path) -> None:
    assert extra_files(load_target("cpu").toolchain("linux/amd64"), tmp_path, print) == {}
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_in_the_package_or_no_plain_file_is_refused(tmp_path: Path) -> None:
    link = tarfile.TarInfo(LOADER)
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    package = SmallPackage(members=[(DRIVER, b"driver"), link])
    for number, taken in enumerate(("usr/lib/other.so", "usr/lib/loader.so")):
        folder = tmp_path / str(number)
        folder.mkdir()
        toolchain = toolchain_with(folder, package, taken)
        with pytest.raises(EnvironmentUnable, match="has not the files"):
            extra_files(toolchain, folder, print)


def test_a_lock_of_other_packages_is_refused(tmp_path: Path) -> None:
    toolchain = toolchain_with(tmp_path, SmallPackage(members=[(DRIVER, b"x")]), DRIVER)
    recipe = {"suite": "bookworm", "packages": {"other": ["usr/lib/driver.so"]}}
    (toolchain.image_dir / RECIPE).write_text(tomli_w.dumps(recipe))
    with pytest.raises(EnvironmentUnable, match="is not of the packages"):
        extra_files(toolchain, tmp_path, print)


def test_the_locked_packages_are_part_of_the_toolchain() -> None:
    toolchain = load_target("webgpu").toolchain("linux/amd64")
    assert toolchain.files_lock.is_file()
    plain = replace(toolchain, image_dir=toolchain.image_dir.parent / "cpu")
    assert not plain.files_lock.exists()
