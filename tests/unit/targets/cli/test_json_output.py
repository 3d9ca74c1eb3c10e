"""``--json``: one document on standard output, whatever a command finds and however it ends."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from targets.cli.commands import doctor
from targets.cli.json_output import as_json_error, print_json
from targets.cli.main import run
from targets.cli.options import PROJECT
from targets.doctor.finding import Finding
from targets.errors import EnvironmentUnable
from targets.target import target_names
from tests.support.project import Project, make_project

Said = Callable[..., tuple[int, Any]]

COMMANDS = {
    path.stem.rstrip("_").replace("_", "-")
    for path in (PROJECT / "targets" / "cli" / "commands").glob("*.py")
    if path.stem != "__init__"
}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "project")


@pytest.fixture
def said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Said:
    """Return a function that runs a command with ``--json`` and returns its exit code and the whole
    of its standard output, read."""
    monkeypatch.setenv("QUERN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent.sock")

    def run_it(*arguments: str) -> tuple[int, Any]:
        monkeypatch.setattr("sys.argv", ["quern", *arguments, "--json"])
        with pytest.raises(SystemExit) as ended:
            run()
        document = json.loads(capsys.readouterr().out)
        assert document["exit_code"] == ended.value.code
        return document["exit_code"], document

    return run_it


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_says_a_mistake_of_its_call_as_one_document(command: str, said: Said) -> None:
    code, document = said(command, "--no-such-option")
    assert code == 2
    assert "no-such-option" in document["problems"][0]["message"].lower()


def test_a_plan_has_one_shape_for_one_and_for_all_targets(project: Project, said: Said) -> None:
    for asked, expected in (
        ((), ("cpu",)),
        (("--target", "cpu,directml"), ("cpu", "directml")),
        (("--target", "all"), target_names()),
    ):
        code, document = said("plan", "--config", str(project.config), *asked)
        assert code == 0
        assert tuple(plan["target"] for plan in document["plans"]) == expected


def test_the_command_goes_before_the_config_and_that_before_cpu(
    project: Project, said: Said
) -> None:
    def planned(*asked: str) -> tuple[str, ...]:
        _, document = said("plan", "--config", str(project.config), *asked)
        return tuple(plan["target"] for plan in document["plans"])

    assert planned() == ("cpu",)
    project.edit('name = "small"', 'name = "small"\ndefault_targets = ["directml", "cpu"]')
    assert planned() == ("directml", "cpu")
    assert planned("--target", "cpu") == ("cpu",)
    project.edit('["directml", "cpu"]', '["all"]')
    assert planned() == target_names()


def test_mistakes_of_a_config_and_of_the_named_targets(project: Project, said: Said) -> None:
    project.edit("r = 8", "rr = 8")
    for command in ("plan", "build"):
        code, document = said(command, "--config", str(project.config))
        assert (code, document["problems"][0]["key"]) == (2, "passes.lora.rr")
    _, document = said("plan", "--target", "cpuu,cudda")
    found = [problem["message"] for problem in document["problems"]]
    assert found == ["unknown target 'cpuu'", "unknown target 'cudda'"]


def test_what_ends_well_is_one_document_too(said: Said) -> None:
    assert said("clean") == (0, {"exit_code": 0, "removed": [], "found": []})
    assert said("schema", "--check") == (0, {"exit_code": 0, "written": []})


def test_a_machine_that_cannot_build_is_told_with_what_was_found(
    said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Finding("problem", "disk", "it is full", blocks=("docker", "venv"))
    monkeypatch.setattr(doctor, "examine", lambda _machine: (broken,))
    code, document = said("doctor")
    assert (code, document["runtimes"]) == (4, [])
    assert [finding["message"] for finding in document["findings"]] == ["it is full"]
    assert document["error"] == "no build can run on this machine"


def test_a_failure_keeps_its_hint_and_its_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failure = EnvironmentUnable("no room", "free some", log=tmp_path / "x.log")
    print_json({**as_json_error(failure), "figures": {"speed": math.nan}})
    assert json.loads(capsys.readouterr().out) == {
        "exit_code": 4,
        "error": "no room",
        "hint": "free some",
        "log": str(tmp_path / "x.log"),
        "figures": {"speed": None},
    }
