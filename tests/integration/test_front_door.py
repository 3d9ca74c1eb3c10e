"""``./nox``, as the README has it: exit codes, output and folders survive the way through nox."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from targets.cli.options import PROJECT
from targets.target import target_names
from tests.support.command import Quern
from tests.support.project import make_project


def nox(quern: Quern, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(PROJECT / "nox"), *arguments],
        cwd=folder,
        env=quern.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a user's repository whose own packages are called as Quern's."""
    make_project(tmp_path)
    for name in ("targets", "pipeline"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('the wrong package')\n")
    return tmp_path


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (
            ("-s", "build-cpu", "--config", "my model.toml", "--json"),
            "./nox -s build-cpu -- --config 'my model.toml' --json",
        ),
        (("-s", "plan", "--json"), "./nox -s plan -- --json"),
    ],
)
def test_options_before_the_dashes_are_shown_behind_them(
    quern: Quern, typed: tuple[str, ...], meant: str
) -> None:
    ended = nox(quern, PROJECT, *typed)
    assert ended.returncode == 2
    assert meant in ended.stderr
    assert "unrecognized" not in ended.stderr


def test_every_command_and_target_is_a_session(quern: Quern) -> None:
    listing = nox(quern, PROJECT, "--list", "--json")
    assert listing.returncode == 0, listing.stderr
    sessions = {entry["session"] for entry in json.loads(listing.stdout)}
    chosen_by_default = {"lint", "types", "tests"}
    assert sessions == chosen_by_default
    shown = nox(quern, PROJECT, "--list").stdout
    commands = {
        path.stem.rstrip("_").replace("_", "-")
        for path in (PROJECT / "targets" / "cli" / "commands").glob("*.py")
        if path.stem != "__init__"
    }
    of_targets = {f"{word}-{name}" for word in ("build", "check") for name in target_names()}
    found = set(re.findall(r"^[-*] (\S+) -> ", shown, re.MULTILINE))
    assert found > commands | of_targets
    contributing = (PROJECT / "CONTRIBUTING.md").read_text("utf-8")
    named = set(re.findall(r"\./nox -s ([\w-]+)", contributing))
    assert named - commands - of_targets == found - commands - of_targets


def test_output_is_the_commands_and_paths_are_the_users(quern: Quern, folder: Path) -> None:
    ran = nox(quern, folder, "-s", "plan", "--", "--config", "small.toml", "--json")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["plans"][0]["build"] == "small"


def test_ones_own_nox_runs_it_from_ones_own_repository(quern: Quern, folder: Path) -> None:
    """As docs/how-to.md has it."""
    noxfile = str(PROJECT / "noxfile.py")
    ran = subprocess.run(
        [sys.executable, "-m", "nox", "-f", noxfile, "-s", "plan", "--", "--config", "small.toml"],
        cwd=folder,
        env=quern.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "small for cpu" in ran.stdout


def test_exit_code_of_the_command_is_that_of_nox(quern: Quern, folder: Path) -> None:
    config = folder / "small.toml"
    config.write_text(config.read_text().replace("r = 8", "rr = 8"))
    ran = nox(quern, folder, "-s", "build-cpu", "--", "--config", "small.toml")
    assert ran.returncode == 2, ran.stderr
    assert "small.toml:" in ran.stderr
    assert not (folder / "dist").exists()
