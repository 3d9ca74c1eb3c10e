"""Output where a terminal or a file takes another encoding than UTF-8."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from targets.cli.options import PROJECT
from tests.support.command import Quern
from tests.support.project import Project, make_project


def plan(project: Project, cache: Path, encoding: str) -> subprocess.CompletedProcess[bytes]:
    quern = Quern(cache)
    known = {"PYTHONIOENCODING": encoding, "DOCKER_HOST": "unix:///nonexistent.sock"}
    return subprocess.run(
        quern.command("plan", "--config", str(project.config), "--runtime", "venv"),
        cwd=PROJECT,
        env=quern.environment(known),
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_what_cannot_be_shown_is_escaped(tmp_path: Path, encoding: str) -> None:
    project = make_project(tmp_path / "project")
    project.edit("story.txt", "Ω-märchen.txt")
    refused = plan(project, tmp_path / "cache", encoding)
    assert refused.returncode == 2
    # click writes UTF-8 where Python believes in ASCII.
    expected = {"latin-1": b"\\u03a9-m\xe4rchen.txt"}.get(encoding, "Ω-märchen.txt".encode())
    assert expected in refused.stderr
    (project.folder / "Ω-märchen.txt").write_text("Once upon a time.\n" * 20)
    shown = plan(project, tmp_path / "cache", encoding)
    assert shown.returncode == 0, shown.stderr
    assert b"20 of 20 to run" in shown.stdout
