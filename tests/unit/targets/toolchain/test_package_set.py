"""Packages that single steps need: their locks, and the folders with their wheels."""

from __future__ import annotations

import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.contract.step import Inputs
from pipeline.process.packages import PACKAGES, unpack_packages
from targets.errors import EnvironmentUnable
from targets.target import load_target, target_names
from targets.toolchain.package_set import package_set
from targets.toolchain.requirements import read_lock
from targets.toolchain.toolchain import Toolchain
from tests.support.silent import Silent
from tests.support.small_wheels import make_wheel, toolchain

BUILDING = [
    target.toolchain(platform)
    for target in map(load_target, target_names())
    for platform, rules in target.platforms.items()
    if rules.builds
]


def title(one: Toolchain) -> str:
    return f"{one.target}-{one.platform}"


def names_of(one: Toolchain) -> set[str]:
    return {str(pin.name) for pin in read_lock(one.lock)}


@pytest.mark.parametrize("one", BUILDING, ids=title)
def test_lm_eval_is_locked_wherever_artifacts_are_built(one: Toolchain) -> None:
    packages = package_set("lm_eval", one)
    names = names_of(packages.toolchain)
    assert "lm-eval" in names
    assert not names & names_of(one), "what the toolchain has already"
    assert {"datasets", "numpy", "transformers", "torch", "scipy"} <= names_of(one)


def test_no_toolchain_has_it() -> None:
    for one in BUILDING:
        assert "lm-eval" not in names_of(one)


def test_where_it_is_not_locked_the_message_says_so() -> None:
    windows = load_target("directml").toolchain("windows/amd64")
    with pytest.raises(EnvironmentUnable, match="no packages of lm_eval for windows/amd64"):
        _ = package_set("lm_eval", windows).digest


def test_its_folder_has_the_wheels_of_its_lock_and_no_others(tmp_path: Path) -> None:
    wheels = tmp_path / "cache" / "wheels"
    ours, _ = make_wheel(wheels, "ours"), make_wheel(wheels, "others")
    locked = toolchain(tmp_path / "set", ours)
    packages = package_set("set", replace(locked, image_dir=tmp_path / "cpu"))
    cache = tmp_path / "cache"
    folder = packages.folder(cache)
    assert not folder.exists()
    packages.ensure(cache, print)
    packages.ensure(cache, print)
    assert [file.name for file in folder.iterdir()] == [ours.name]
    assert packages.needs(cache) == ()
    assert list(folder.parent.iterdir()) == [folder]

    toolchain(tmp_path / "set", make_wheel(wheels, "ours", "x = 2\n"))
    assert packages.folder(cache) != folder, "another lock, another folder"


def test_a_process_imports_what_its_wheels_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = make_wheel(tmp_path / "wheels", "only_in_this_set", "x = 41 + 1\n")
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("json.py", "raise AssertionError('what is installed comes first')")
    monkeypatch.setattr(sys, "path", [*sys.path])
    unpack_packages(Inputs({PACKAGES: wheel.parent}, None, 0, 1, Silent()))
    module = __import__("only_in_this_set")
    assert module.x == 42
    monkeypatch.delitem(sys.modules, "json")
    __import__("json")
