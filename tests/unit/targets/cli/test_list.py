"""``list`` and ``compare``: builds of a folder, and what differs between two."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from pydantic import JsonValue

from pipeline.contract.result import Verdict
from targets.cli.main import main
from targets.errors import ConfigError
from targets.report.report_schema import Report
from tests.support.reports import ACCURACY, SLOW, make_report


def run(*command: str | Path) -> Result:
    return CliRunner(env={"COLUMNS": "80"}).invoke(main, list(map(str, command)))


def wrote(folder: Path, report: Report, seconds: int = 0) -> Path:
    folder.mkdir(parents=True)
    file = folder / "report.json"
    file.write_text(report.model_dump_json(), "utf-8")
    os.utime(file, (seconds, seconds))
    return folder


def changed(report: Report, params: dict[str, JsonValue], **others: Any) -> Report:
    (lora,) = report.passes
    return report.model_copy(
        update={"passes": (lora.model_copy(update={"params": params, **others}),)}
    )


@pytest.fixture
def dist(tmp_path: Path) -> Path:
    wrote(tmp_path / "dist" / "tone" / "cpu", make_report(ACCURACY), 1_000)
    wrote(tmp_path / "dist" / "later" / "cpu", make_report(ACCURACY, SLOW), 2_000)
    return tmp_path / "dist"


def test_builds_are_listed_the_newest_first(dist: Path) -> None:
    listed = json.loads(run("list", "--dist", dist, "--json").stdout)["builds"]
    assert [Path(one["folder"]).parts[-2] for one in listed] == ["later", "tone"]
    shown = run("list", "--dist", dist).stdout
    rows = [line.split() for line in shown.splitlines() if "tone" in line]
    assert [row[2] for row in rows] == ["failed", "passed"]
    assert all("93.4 %" in line for line in shown.splitlines() if "tone" in line)
    assert max(map(len, shown.splitlines())) <= 80


def test_a_report_that_cannot_be_read_hides_no_other(dist: Path) -> None:
    (wrote(dist / "broken" / "cpu", make_report()) / "report.json").write_text("{", "utf-8")
    ended = run("list", "--dist", dist)
    assert isinstance(ended.exception, ConfigError)
    assert "broken/cpu/report.json" in str(ended.exception)
    assert "failed" in ended.stdout


def test_a_folder_without_builds_says_so(tmp_path: Path) -> None:
    ended = run("list", "--dist", tmp_path)
    assert ended.exit_code == 0
    assert "no builds in" in ended.stdout


def test_two_builds_differ_in_what_was_changed(tmp_path: Path) -> None:
    report = changed(make_report(ACCURACY), {"r": 8, "epochs": 3}, metrics={"train_loss": 0.5})
    other = changed(
        make_report(ACCURACY, SLOW),
        {"r": 16, "epochs": 3},
        key="other",
        metrics={"train_loss": 0.25},
    )
    folders = [wrote(tmp_path / name, one) for name, one in (("a", report), ("b", other))]
    found = json.loads(run("compare", *folders, "--json").stdout)
    assert found["causes"] == [{"what": "passes.lora.r", "first": "8", "second": "16"}]
    losses = [row for row in found["results"] if row["what"] == "training loss of lora"]
    assert losses == [{"what": "training loss of lora", "first": "0.500", "second": "0.250"}]
    (check,) = found["checks"]
    assert (check["what"], check["first"]) == ("token_ms", "")
    assert check["second"].startswith("failed 31.25 ms")


def test_builds_from_other_code_differ_in_a_key(tmp_path: Path) -> None:
    report = changed(make_report(ACCURACY), {"r": 8})
    folders = [
        wrote(tmp_path / "a", report),
        wrote(tmp_path / "b", changed(make_report(ACCURACY), {"r": 8}, key="another")),
    ]
    assert json.loads(run("compare", *folders, "--json").stdout)["causes"] == [
        {"what": "key of lora", "first": "k", "second": "another"}
    ]
    assert "Both were made from the same." in run("compare", folders[0], folders[0]).stdout


def test_a_name_from_outside_acts_on_no_terminal(tmp_path: Path) -> None:
    hostile = Verdict(name="[red]x\x1b[2J\n::error::y", status="failed")
    folders = [
        wrote(tmp_path / "a", make_report()),
        wrote(tmp_path / "b", make_report(hostile)),
    ]
    shown = run("compare", *folders).stdout
    assert "\x1b" not in shown
    assert not any(line.startswith("::") for line in shown.splitlines())
    assert "[red]x" in shown
