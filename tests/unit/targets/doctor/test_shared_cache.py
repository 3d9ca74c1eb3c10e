"""What the doctor says of a shared cache to those who bring results there, and to those who only
read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.contract.schema import SharedCacheTable
from targets.doctor.finding import Finding, Machine
from targets.doctor.shared_cache import shared_cache
from targets.remote.record import blob_path
from targets.remote.shared_cache import SIGN_KEY


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    """Return a shared cache that has two files."""
    folder = tmp_path / "remote"
    for digest, size in (("ab" * 32, 1 << 20), ("cd" * 32, 10)):
        file = folder / blob_path(digest)
        file.parent.mkdir(parents=True)
        file.write_bytes(bytes(size))
    return folder


def examined(remote: Path, **table: Any) -> Finding:
    (finding,) = shared_cache(
        Machine(remote, remote, (), SharedCacheTable(remote=remote.as_uri(), **table))
    )
    return finding


def content(folder: Path) -> Mapping[Path, int]:
    return {one: one.stat().st_mtime_ns for one in folder.rglob("*")}


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ({}, "the config has no `push = true`"),
        ({"push": True, "trust": ("team.pub",)}, f"{SIGN_KEY} names no key to sign with"),
    ],
)
def test_who_brings_nothing_writes_nothing_and_hears_how_fast_it_comes(
    remote: Path, table: dict[str, Any], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SIGN_KEY, raising=False)
    before = content(remote)
    found = examined(remote, **table)
    assert content(remote) == before
    assert found.severity == "ok"
    assert f"{remote.as_uri()} answers in " in found.message
    assert " MB/s; nothing is brought to it" in found.message
    assert found.message.endswith(why)
    assert found.details["down_bytes_per_second"] > 0  # type: ignore[operator]
    assert "up_bytes_per_second" not in found.details


def test_of_little_one_cannot_tell_how_fast_it_comes(remote: Path) -> None:
    (remote / blob_path("ab" * 32)).write_bytes(b"little")
    found = examined(remote)
    assert found.severity == "ok"
    assert "MB/s" not in found.message


@pytest.mark.parametrize("trust", [(), ("team.pub",)])
def test_who_brings_results_hears_both_speeds_and_leaves_nothing(
    remote: Path, trust: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SIGN_KEY, "team.key")
    files = {one for one in remote.rglob("*") if one.is_file()}
    found = examined(remote, push=True, trust=trust)
    assert {one for one in remote.rglob("*") if one.is_file()} == files
    assert found.severity == "ok"
    assert ", takes " in found.message
    assert {"up_bytes_per_second", "down_bytes_per_second"} <= found.details.keys()
