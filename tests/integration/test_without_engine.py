"""Quern where no engine is in reach: on every machine, by putting it out of reach."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command import CommandResult, Quern
from tests.support.quick_builds import quick_project, report_of


@pytest.fixture
def without_engine(quern: Quern, monkeypatch: pytest.MonkeyPatch) -> Quern:
    """Return the command line, with the engine out of its reach."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    return quern


def lines_about_the_engine(ran: CommandResult) -> list[str]:
    return [line for line in (ran.stdout + ran.stderr).splitlines() if "Docker Engine" in line]


def test_a_build_takes_a_virtual_environment_and_says_why_in_one_line(
    without_engine: Quern, tmp_path: Path
) -> None:
    # The base is that of the other builds in virtual environments; the adapter is new.
    project, dist = quick_project(tmp_path / "project", seed=2), tmp_path / "dist"
    project.edit("r = 8", "r = 4")
    ran = without_engine("build", "--config", str(project.config), "--dist", str(dist))
    assert ran.code == 0, ran.stderr
    assert report_of(dist)["toolchain"]["runtime"] == "venv"
    (line,) = lines_about_the_engine(ran)
    assert "virtual environment" in line


def test_containers_that_are_asked_for_end_it_before_anything_is_fetched(
    without_engine: Quern, tmp_path: Path
) -> None:
    project, nothing = quick_project(tmp_path / "project"), tmp_path / "cache"
    arguments = ("--config", str(project.config), "--cache", str(nothing), "--runtime", "docker")
    ran = without_engine("build", *arguments)
    assert ran.code == 4, ran.stderr
    assert "apt-get install" in ran.stderr
    assert not (nothing / "wheels").exists()
