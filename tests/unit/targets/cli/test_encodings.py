"""Output where a terminal or a file takes another encoding than UTF-8."""

from __future__ import annotations

import subprocess
import sys
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


SUMMARY = """
from pathlib import Path

from targets.cli import main
from targets.cli.options import console
from targets.console.print_summary import print_summary
from tests.support.reports import ACCURACY, SLOW, make_report

main.main = lambda **_: print_summary(
    console(False), make_report(ACCURACY, SLOW), Path("dist/Ω"), 1.0
)
main.run()
"""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_the_marks_after_a_build_end_no_command(tmp_path: Path, encoding: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SUMMARY],
        cwd=PROJECT,
        env=Quern(tmp_path).environment({"PYTHONIOENCODING": encoding}),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout.decode(encoding)
    if encoding != "utf-8":
        assert said.isascii(), "a mark that another encoding happens to have may look odd"
    marks = ("✓", "✗") if encoding == "utf-8" else ("+", "x")
    for mark, text in zip(marks, ("as good?", "token_ms"), strict=True):
        assert any(mark in line and text in line for line in said.splitlines()), (mark, said)
    assert ("Ω" if encoding == "utf-8" else "\\u03a9") in said


DUMB = """
import io
import sys

from targets.console.safe_console import SafeConsole
from targets.console.whole_table import WholeTable


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


out = Terminal()
console = SafeConsole(file=out, width=60)
table = WholeTable()
table.column("limit", wrap=False)
table.column("why")
table.row("[bold]≤ 20 ms[/]", "a → b")
table.row("30 ms", "✓ 1 · 2")
console.print(table)
console.print("✗ [green]→[/] …")
sys.stdout.write(out.getvalue())
"""


def test_a_terminal_that_only_shows_lines_gets_ascii_in_columns(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DUMB],
        cwd=PROJECT,
        env=Quern(tmp_path).environment({"TERM": "dumb"}),
        capture_output=True,
        check=True,
        text=True,
    )
    assert done.stdout.isascii()
    assert "\x1b" not in done.stdout
    first, second = (line for line in done.stdout.splitlines() if " ms" in line)
    assert first.index("a -> b") == second.index("+ 1 - 2")
    assert "<= 20 ms" in first
    assert "x -> ..." in done.stdout
