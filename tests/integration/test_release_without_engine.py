"""A release is made in containers, and ends at once where there can be none."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command import Quern
from tests.support.quick_builds import quick_project


@pytest.mark.parametrize("asked", [(), ("--runtime", "auto"), ("--runtime", "docker")])
def test_a_release_without_an_engine_ends_at_once(asked: tuple[str, ...], tmp_path: Path) -> None:
    project, quern = quick_project(tmp_path / "project"), Quern(tmp_path / "cache")
    arguments = ("--config", str(project.config), "--dist", str(tmp_path / "dist"), *asked)
    ran = quern(
        *("release", "--version", "1.0.0", "--allow-dirty", *arguments),
        environment={"DOCKER_HOST": "unix:///nowhere"},
        seconds=60,
    )
    assert ran.code == 4, ran.stdout + ran.stderr
    assert "a release is made in containers, and no Docker Engine is installed" in ran.stderr
    assert "or use `--runtime venv`, which the provenance then says" in ran.stderr
    assert not (tmp_path / "cache" / "wheels").exists()
    assert not (tmp_path / "dist").exists()
