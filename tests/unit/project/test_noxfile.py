"""Sessions for those who work on Quern: names, lint, and what git runs before a commit."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import yaml

from targets.cli.options import PROJECT
from tests.support.pages.commands import commands_in, noxfile, sessions


def test_sessions_are_named_with_one_kind_of_hyphen() -> None:
    assert [name for name in sessions() if not re.fullmatch(r"[a-z]+(-[a-z]+)*", name)] == []


def test_what_git_runs_before_a_commit_are_the_sessions_of_the_ci() -> None:
    (repo,) = yaml.safe_load((PROJECT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"]
    entries = [hook["entry"] for hook in repo["hooks"]]
    assert [
        text for entry in entries for call in commands_in(entry) for text in call.mistakes
    ] == []
    in_ci = (PROJECT / ".ci" / "run").read_text("utf-8")
    assert "./nox -s lint types tests" in in_ci
    assert entries == ["./nox -s lint", "./nox -s types"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("#!/bin/sh\n", True),
        ("#!/usr/bin/env bash\nset -e\n", True),
        ("#!/usr/bin/env -S dash -e\n", True),
        ("#!/usr/bin/env python3\nimport sh\n", False),
        ("#!/usr/bin/env fish\n", False),
        ("# a shell script, /bin/sh\n", False),
        ("", False),
    ],
)
def test_a_shell_script_is_known_by_its_first_line(tmp_path: Path, text: str, found: bool) -> None:
    file = tmp_path / "script"
    file.write_text(text)
    assert noxfile().is_shell_script(file) is found


def test_a_file_that_is_no_more_is_no_shell_script(tmp_path: Path) -> None:
    assert not noxfile().is_shell_script(tmp_path / "removed")


@pytest.mark.parametrize(
    ("module", "named"), [("targets", True), ("tests.benchmarks.smollm", False)]
)
def test_only_a_command_of_quern_itself_ends_with_its_front_door(
    monkeypatch: pytest.MonkeyPatch, module: str, named: bool
) -> None:
    """What a benchmark builds has the benchmark as parent, not the front door."""
    monkeypatch.setattr(noxfile_module := noxfile(), "python_with", lambda *_: "python")
    session = MagicMock(invoked_from=str(Path.cwd()), posargs=[])
    noxfile_module.command(session, module=module)
    assert ("QUERN_FRONT_DOOR" in session.run.call_args.kwargs["env"]) is named


@pytest.mark.skipif(not (PROJECT / ".git").exists(), reason="history tests: this is no clone")
def test_the_script_of_the_ci_is_linted() -> None:
    assert ".ci/run" in noxfile().shell_scripts(MagicMock())


def test_a_noxfile_of_ones_own_calls_the_front_door(tmp_path: Path) -> None:
    page = (PROJECT / "docs" / "how-to.md").read_text("utf-8")
    shown = page.partition("```python\n@nox.session")[2].partition("```")[0]
    own = tmp_path / "support"
    own.mkdir()
    (own / "noxfile.py").write_text(f"import nox\n\n\n@nox.session{shown}")
    door = tmp_path / "quern" / "nox"
    door.parent.mkdir()
    door.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\" > asked\nexit 3\n")
    door.chmod(0o755)
    asked = ["-s", "plan", "--", "--config", "support.toml"]
    ran = subprocess.run(
        [sys.executable, "-m", "nox", "-s", "quern", "--", *asked], cwd=own, capture_output=True
    )
    assert (own / "asked").read_text().splitlines() == asked
    assert ran.returncode != 0
