"""What was found in rows is remembered: nothing is read again until a file or a setting changes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from targets.cli.options import PROJECT
from tests.support.project import make_project

OPENED = """\
import sys
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
from targets.cli.main import main
main(sys.argv[2:], standalone_mode=False)
print(sum(name.endswith(sys.argv[1]) for name in opened))
"""


def planned(*arguments: str, name: str) -> tuple[str, int]:
    """Return what ``plan`` prints, and how often it opened the file ``name``."""
    ran = subprocess.run(
        [sys.executable, "-c", OPENED, name, "plan", "--json", *arguments],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    *shown, opened = ran.stdout.splitlines()
    return "\n".join(shown), int(opened)


def test_a_second_plan_reads_no_row_and_shows_the_same(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    data = project.data
    past = time.time() - 10
    os.utime(data, (past, past))
    asked = ("--config", str(project.config), "--cache", str(tmp_path / "cache"))
    first, opened = planned(*asked, name=data.name)
    assert opened > 0
    assert json.loads(first)["data"][0]["rows"]
    again, opened = planned(*asked, name=data.name)
    assert (again, opened) == (first, 0)
    lines = data.read_text("utf-8").splitlines(keepends=True)
    data.write_text("".join(lines[:-1]), encoding="utf-8")
    changed, opened = planned(*asked, name=data.name)
    assert opened > 0
    counts = [sum(json.loads(shown)["data"][0]["rows"].values()) for shown in (first, changed)]
    assert counts[0] - counts[1] == 1
