"""``init``: from a data file to a config that plans, by options, by the rows, or by answers."""

from __future__ import annotations

import csv
import json
import os
import pty
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import tomli
import yaml
from click.testing import CliRunner

from targets.cli.main import main
from targets.cli.options import PROJECT
from targets.errors import ConfigError

MODEL = f"hf:org/name@{'0123456789' * 4}"
TONES = [{"phrase": f"phrase {number}", "tone": ("joy", "fear")[number % 2]} for number in range(8)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder, from which commands are called."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def init(*options: str) -> str:
    """Return what was wrong; empty if nothing was."""
    return run("init", "--model", MODEL, *options)


def run(*command: str) -> str:
    error = CliRunner().invoke(main, command).exception
    assert error is None or isinstance(error, ConfigError)
    return "" if error is None else str(error)


def as_lines(rows: Sequence[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize(
    ("rows", "keys"),
    [
        (
            TONES,
            {
                "prompt": "{phrase}",
                "completion": "{tone}",
                "label": "tone",
                "labels": ["joy", "fear"],
            },
        ),
        (
            [
                {"id": number, "question": f"Why {number}?", "answer": f"So {number}."}
                for number in range(9)
            ],
            {"prompt": "{question}", "completion": "{answer}"},
        ),
        (
            [
                {
                    "messages": [
                        {"role": "user", "content": text},
                        {"role": "assistant", "content": "b"},
                    ]
                }
                for text in ("a", "c", "e")
            ],
            {"messages": "messages"},
        ),
    ],
    ids=["classes", "answers", "conversations"],
)
def test_the_rows_say_how_they_are_learnt(
    folder: Path, rows: Sequence[Mapping[str, Any]], keys: Mapping[str, Any]
) -> None:
    (folder / "My rows.jsonl").write_text(as_lines(rows), "utf-8")
    ended = init("--data", "My rows.jsonl")
    assert ended == ""
    config = tomli.loads((folder / "quern.toml").read_text("utf-8"))
    assert config["name"] == "my-rows"
    assert config["model"] == {"source": MODEL}
    assert config["data"]["my-rows"] == {"path": "My rows.jsonl", **keys, "split": {"eval": 0.3}}


def test_an_editor_finds_the_schema_and_the_config_holds_by_it(folder: Path) -> None:
    (folder / "tones.jsonl").write_text(as_lines(TONES), "utf-8")
    assert init("--data", "tones.jsonl") == ""
    text = (folder / "quern.toml").read_text("utf-8")
    schema = text.partition("#:schema ")[2].partition("\n")[0]
    import jsonschema

    jsonschema.validate(tomli.loads(text), json.loads((folder / schema).read_text("utf-8")))


def test_a_workflow_builds_every_target(folder: Path) -> None:
    (folder / "tones.jsonl").write_text(as_lines(TONES), "utf-8")
    assert init("--data", "tones.jsonl", "--target", "cpu,directml") == ""
    workflow = yaml.safe_load((folder / ".github/workflows/quern.yml").read_text("utf-8"))
    commands = [step["run"] for step in workflow["jobs"]["build"]["steps"] if "run" in step]
    assert "quern build-cpu --config quern.toml" in commands
    assert "quern build-directml --config quern.toml" in commands


def test_cells_of_a_table_are_read_as_pythons_csv_writes_them(folder: Path) -> None:
    with (folder / "mail.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["mail", "kind"])
        for number in range(9):
            writer.writerow([f'a "quoted", line\nof {number}', ("bill, paid", "other")[number % 2]])
    assert init("--data", "mail.csv", "--prompt", "mail") == ""
    table = tomli.loads((folder / "quern.toml").read_text("utf-8"))["data"]["mail"]
    assert (table["prompt"], table["labels"]) == ("{mail}", ["bill, paid", "other"])


def test_everything_that_cannot_be_seen_is_asked_for_at_once(folder: Path) -> None:
    rows = [{"first": f"a {number}", "second": f"b {number}"} for number in range(9)]
    (folder / "rows.jsonl").write_text(as_lines(rows), "utf-8")
    ended = run("init", "--data", "rows.jsonl")
    for said in ("--model", "--prompt", "--answer", "first, second"):
        assert said in ended
    assert not (folder / "quern.toml").exists()


def test_files_that_are_there_stay(folder: Path) -> None:
    (folder / "tones.jsonl").write_text(as_lines(TONES), "utf-8")
    (folder / "quern.toml").write_text("name = 'mine'\n", "utf-8")
    (folder / ".gitignore").write_text("*.log", "utf-8")
    ended = init("--data", "tones.jsonl")
    assert "quern.toml: is there already (use --force to replace it)" in ended
    assert (folder / "quern.toml").read_text("utf-8") == "name = 'mine'\n"
    assert (folder / ".gitignore").read_text("utf-8") == "*.log"
    assert init("--data", "tones.jsonl", "--force") == ""
    assert (folder / ".gitignore").read_text("utf-8") == "*.log\n/dist/\n"


def test_a_row_that_cannot_be_read_is_named(folder: Path) -> None:
    (folder / "tones.jsonl").write_text(as_lines(TONES) + "{broken\n", "utf-8")
    ended = init("--data", "tones.jsonl")
    assert "tones.jsonl:9" in ended


def test_a_person_is_asked(folder: Path) -> None:
    rows = [{"first": f"a {number}", "second": f"b {number}"} for number in range(9)]
    (folder / "rows.jsonl").write_text(as_lines(rows), "utf-8")
    shell, terminal = pty.openpty()
    answers = f"{MODEL}\nrows.jsonl\nfirst\nsecond\n"
    os.write(shell, answers.encode())
    ended = subprocess.run(
        [sys.executable, "-m", "targets", "init"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        stdin=terminal,
        capture_output=True,
        text=True,
        check=False,
    )
    os.close(terminal)
    os.close(shell)
    assert ended.returncode == 0, ended.stderr
    table = tomli.loads((folder / "quern.toml").read_text("utf-8"))["data"]["rows"]
    assert (table["prompt"], table["completion"]) == ("{first}", "{second}")


def test_commands_take_the_config_of_the_folder(folder: Path) -> None:
    (folder / "quern.toml").write_text("nonsense = 1\n", "utf-8")
    ended = run("plan")
    assert "quern.toml:1: nonsense" in ended
