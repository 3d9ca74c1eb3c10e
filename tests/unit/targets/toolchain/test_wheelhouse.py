"""The wheelhouse, with small real wheels and the host's real pip."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from targets.errors import EnvironmentUnable
from targets.toolchain.wheelhouse import Wheelhouse
from tests.support.small_wheels import make_wheel, toolchain


@pytest.fixture(autouse=True)
def only_local_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pip find wheels in one folder and nowhere else."""
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", (tmp_path / "links").as_uri())


def ignore(_line: str) -> None:
    """Take a line and do nothing."""


def test_fetched_once_then_only_looked_at(tmp_path: Path) -> None:
    source = make_wheel(tmp_path / "links")
    wanted = toolchain(tmp_path / "image", source)
    house = Wheelhouse(tmp_path / "wheels")
    said: list[str] = []
    assert [str(pin) for pin in house.missing(wanted)] == ["tiny==1.0"]

    (first,) = house.ensure(wanted, said.append)
    source.unlink()
    (second,) = house.ensure(wanted, said.append)

    assert first == second
    assert first.path.parent == house.folder
    assert said == ["fetching 1 of 1 wheels"]
    assert house.missing(wanted) == ()
    assert not list(house.folder.glob(".fetch-*"))


def test_tampered_wheel_is_seen_and_fetched_again(tmp_path: Path) -> None:
    source = make_wheel(tmp_path / "links")
    good = source.read_bytes()
    wanted = toolchain(tmp_path / "image", source)
    house = Wheelhouse(tmp_path / "wheels")
    (wheel,) = house.ensure(wanted, ignore)
    said: list[str] = []
    wheel.path.write_bytes(good[:-1] + b"!")

    (again,) = house.ensure(wanted, said.append)

    assert again.path.read_bytes() == good
    assert "damaged" in said[0]


def test_a_wheel_that_nobody_has_read_yet_is_here_and_one_that_was_changed_is_not(
    tmp_path: Path,
) -> None:
    """As where the wheels were copied without what is remembered of them."""
    wanted = toolchain(tmp_path / "image", make_wheel(tmp_path / "links"))
    house = Wheelhouse(tmp_path / "wheels")
    (wheel,) = house.ensure(wanted, ignore)
    remembered = house.folder / "verified.json"
    remembered.unlink()
    assert house.missing(wanted) == ()
    assert house.lacks(wanted) == 0
    assert not remembered.exists()  # a look changes nothing
    wheel.path.write_bytes(wheel.path.read_bytes()[:-1] + b"!")
    assert house.missing(wanted) == (wheel.pin,)
    assert wheel.path.exists()


def test_index_that_serves_another_file_is_refused(tmp_path: Path) -> None:
    wanted = toolchain(tmp_path / "image", make_wheel(tmp_path / "links"))
    make_wheel(tmp_path / "links", content="x = 'evil'\n")
    house = Wheelhouse(tmp_path / "wheels")

    with pytest.raises(EnvironmentUnable, match=r"tiny==1\.0") as caught:
        house.ensure(wanted, ignore)

    assert "another file than the lock says" in caught.value.hint
    assert not list(house.folder.glob("*.whl"))


def test_missing_wheels_are_named_and_the_others_kept(tmp_path: Path) -> None:
    here = make_wheel(tmp_path / "links", "here")
    gone = make_wheel(tmp_path / "links", "gone")
    wanted = toolchain(tmp_path / "image", here, gone)
    gone.unlink()
    house = Wheelhouse(tmp_path / "wheels")

    with pytest.raises(EnvironmentUnable, match=r"1 wheel\(s\): gone==1\.0") as caught:
        house.ensure(wanted, ignore)

    assert str(house.folder) in caught.value.hint
    assert [path.name for path in house.folder.glob("*.whl")] == [here.name]


def test_wheel_put_there_by_hand_is_taken(tmp_path: Path) -> None:
    source = make_wheel(tmp_path / "links")
    wanted = toolchain(tmp_path / "image", source)
    house = Wheelhouse(tmp_path / "wheels")
    house.folder.mkdir()
    source.rename(house.folder / source.name)

    (wheel,) = house.ensure(wanted, ignore)

    assert wheel.path == house.folder / source.name


def test_wheel_of_another_platform_does_not_count(tmp_path: Path) -> None:
    source = make_wheel(tmp_path / "links")
    wanted = toolchain(tmp_path / "image", source)
    house = Wheelhouse(tmp_path / "wheels")
    house.folder.mkdir()
    source.rename(house.folder / "tiny-1.0-cp311-cp311-win_amd64.whl")

    with pytest.raises(EnvironmentUnable, match=r"tiny==1\.0"):
        house.ensure(wanted, ignore)
