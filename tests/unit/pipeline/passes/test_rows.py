"""Rows made by functions of the user's: found by name, called rightly, written as JSON."""

from __future__ import annotations

import json
import sys
from datetime import date, datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pipeline.contract.errors import StepError
from pipeline.contract.step import Inputs
from pipeline.data.jsonable import jsonable
from pipeline.passes.rows import FILE, RowsParams, make_rows
from pipeline.run.reporting import EventWriter, StepReporter
from pipeline.scripts.load import find_object, load_script

SCRIPT = """\
from olive.data.registry import Registry

@Registry.register_dataset()
def Tones(count, start=0):
    return [{"n": start + n, "text": f"text {n}"} for n in range(count)]

@Registry.register_dataset("My_Tones")
def private():
    return [{"n": 1}]

@Registry.register_pre_process()
@Registry.register_post_process("other")
@Registry.register_dataloader()
def tokens(rows, length=3):
    return [{"input_ids": list(range(length))} for _ in rows]

def shout(row):
    return row["text"].upper()

def fails(row):
    raise KeyError("no such thing")

class Indexed:
    def __len__(self):
        return 2
    def __getitem__(self, at):
        return {"n": at}

def indexed():
    return Indexed()

def picture():
    return [{"n": 1, "image": b"GIF"}]

def numbers():
    return [1]
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "user.py"
    path.write_text(SCRIPT)
    return path


def make(folder: Path, script: Path | None, **settings: Any) -> list[Any]:
    out = folder / "out"
    out.mkdir(exist_ok=True)
    files: list[Path] = settings.pop("files", [])
    paths = {FILE.format(number): path for number, path in enumerate(files)}
    if script is not None:
        paths["script"] = script
        settings["script"] = script.name
    report = StepReporter("rows", EventWriter(sys.stderr))
    inputs = Inputs(paths=paths, data=None, seed=0, threads=1, report=report)
    make_rows(inputs, RowsParams.model_validate({**settings, "files": len(files)}), out)
    return [json.loads(line) for line in (out / "rows.jsonl").read_text("utf-8").splitlines()]


def fault(folder: Path, script: Path, **settings: Any) -> tuple[str, str]:
    with pytest.raises(StepError) as error:
        make(folder, script, **settings)
    assert error.value.cause == "bad_input"
    return str(error.value), error.value.hint


def test_functions_are_found_by_own_and_by_registered_name(script: Path) -> None:
    module = load_script(script)
    for name in ("Tones", "tones", "my_tones", "MY_TONES", "private", "tokens", "Other", "shout"):
        assert callable(find_object(module, name))
    with pytest.raises(StepError, match=r"user\.py has no 'tonse'") as error:
        find_object(module, "tonse")
    assert "tones" in error.value.hint
    assert not [name for name in sys.modules if name.partition(".")[0] == "olive"]


@pytest.mark.parametrize(
    "line", ["from olive.data.component import x", "import olive.workflows", "import olive.cli.run"]
)
def test_other_modules_of_olive_are_refused_with_the_reason(tmp_path: Path, line: str) -> None:
    script = tmp_path / "user.py"
    script.write_text(f"{line}\n")
    with pytest.raises(StepError, match=r"Quern has olive\.data\.registry alone of Olive"):
        load_script(script)


def test_rows_and_columns(tmp_path: Path, script: Path) -> None:
    found = make(
        tmp_path, script, load="tones", load_params={"count": 2}, columns={"text": "shout"}
    )
    assert found == [{"n": 0, "text": "TEXT 0"}, {"n": 1, "text": "TEXT 1"}]
    assert make(tmp_path, script, load="indexed") == [{"n": 0}, {"n": 1}]
    tokens = make(
        tmp_path,
        script,
        load="tones",
        load_params={"count": 1},
        pre_process="tokens",
        pre_process_params={"length": 2},
    )
    assert tokens == [{"input_ids": [0, 1]}]


def test_columns_of_files(tmp_path: Path, script: Path) -> None:
    first, second = tmp_path / "a.csv", tmp_path / "b.jsonl"
    first.write_text("text\none\n")
    second.write_text('{"text": "two"}\n')
    found = make(tmp_path, script, files=[first, second], columns={"loud": "shout"})
    assert found == [{"text": "one", "loud": "ONE"}, {"text": "two", "loud": "TWO"}]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"load": "tones", "load_params": {"cuont": 1, "x": 2}},
            "Tones does not take cuont, x (code.load_params) it takes: count, start",
        ),
        ({"load": "tones"}, "missing a required argument: 'count' set them in code.load_params"),
        ({"load": "picture"}, "row 1: the column 'image' holds bytes"),
        ({"load": "numbers"}, "row 1 is int, not a dictionary"),
        ({"load": "tones", "load_params": {"count": 0}}, "there are no rows"),
        (
            {"load": "private", "columns": {"x": "fails"}},
            "row 1: the function of the column 'x' raised KeyError: 'no such thing'",
        ),
        ({"load": "private", "columns": {"x": "shuot"}}, "user.py has no 'shuot'"),
        (
            {"load": "private", "pre_process": "tokens", "pre_process_params": {"size": 1}},
            "tokens does not take size (code.pre_process_params)",
        ),
    ],
)
def test_what_is_wrong_is_said(
    tmp_path: Path, script: Path, settings: dict[str, Any], said: str
) -> None:
    assert said in " ".join(fault(tmp_path, script, **settings))


def test_values_as_json() -> None:
    class Array:
        def tolist(self) -> list[float]:
            return [1.5, float("nan")]

    row = {
        "when": datetime(2026, 11, 5, 10, tzinfo=timezone.utc),
        "day": date(2026, 11, 5),
        "price": Decimal("1.10"),
        "list": (1, None, True),
        "array": Array(),
        "table": {"a": {"b": "c"}},
    }
    assert jsonable(row) == {
        "when": "2026-11-05T10:00:00+00:00",
        "day": "2026-11-05",
        "price": "1.10",
        "list": [1, None, True],
        "array": [1.5, None],
        "table": {"a": {"b": "c"}},
    }
    for value in (b"x", object(), {1, 2}, float("inf")):
        with pytest.raises(ValueError, match="which"):
            jsonable(value)
    with pytest.raises(ValueError, match=r"\\ud83d, half of a character"):
        jsonable({"text": "\ud83d"})
