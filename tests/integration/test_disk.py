"""A build on a disk that is too small, which is mounted for real."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command import Quern
from tests.support.mounts import Mounts, mounts
from tests.support.quick_builds import quick_project

__all__ = ["mounts"]


@pytest.fixture
def small(mounts: Mounts, tmp_path: Path) -> Path:
    """Return a file system of 20 MB."""
    return mounts.small(tmp_path / "small", "20m")


def test_results_that_do_not_fit_are_seen_before_any_work(
    quern: Quern, toolchain_python: Path, small: Path, tmp_path: Path
) -> None:
    project = quick_project(tmp_path / "project", seed=3)
    arguments = ("build", "--config", str(project.config), "--runtime", "venv")
    dist = tmp_path / "dist"

    nothing = Quern(small / "new")
    ran = nothing(*arguments, "--dist", str(dist))
    assert ran.code == 4, ran.stderr
    assert f"too little room at {nothing.cache}: about 2." in ran.stderr
    assert "the cpu toolchain 2." in ran.stderr

    # With the toolchain there it is the results that are too large.
    for name in ("wheels", "venvs"):
        (small / name).symlink_to(quern.cache / name)
    ran = Quern(small)(*arguments, "--dist", str(dist))
    assert ran.code == 4, ran.stderr
    assert f"too little room at {small}: about " in ran.stderr
    assert "MB are needed (results " in ran.stderr
    assert "MB are free" in ran.stderr
    assert "--cache names another folder" in ran.stderr
    for left in ("objects", "work"):
        assert not (small / left).exists()
    assert not dist.exists()
    assert toolchain_python.exists()
