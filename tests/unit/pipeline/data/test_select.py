"""Which rows are used, and the layouts that are known by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import JsonValue, ValidationError

from pipeline.contract.data_files import DataFiles
from pipeline.contract.data_spec import DataSpec
from pipeline.contract.errors import StepError
from pipeline.data.check import check_rows, examples_of
from pipeline.data.load import read_files
from pipeline.data.look import look
from pipeline.data.parts import load_parts
from pipeline.data.row_store import Row
from pipeline.data.select import bounds, select


def spec(**changes: Any) -> DataSpec:
    return DataSpec.model_validate({"path": "x", "template": "{text}", **changes})


def rows(*values: dict[str, JsonValue]) -> list[Row]:
    return [Row(number, value) for number, value in enumerate(values, start=1)]


def numbered(count: int) -> list[Row]:
    values: list[dict[str, JsonValue]] = [
        {"text": f"text {n}", "n": n, "even": n % 2 == 0} for n in range(count)
    ]
    return rows(*values)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (":3", (0, 3)),
        ("2:", (2, 10)),
        ("2:4", (2, 4)),
        (":99", (0, 99)),
        ("10%:30%", (1, 3)),
        ("50%:", (5, 10)),
        (":25%", (0, 3)),
        ("2:50%", (2, 5)),
    ],
)
def test_slices(text: str, wanted: tuple[int, int]) -> None:
    assert bounds(text, 10) == wanted


def test_where_goes_first_then_rows_then_max_samples() -> None:
    wanted = spec(where={"even": True}, rows="1:4")
    chosen, problems = select(numbered(12), wanted)
    assert [row.values["n"] for row in chosen] == [2, 4, 6]
    assert problems == []
    few = examples_of(numbered(12), wanted.model_copy(update={"max_samples": 2}))
    assert len(few) == 2
    assert {item.line for item in few} <= {3, 5, 7}


def test_where_matches_numbers_written_as_text() -> None:
    chosen, _ = select(rows({"n": "3"}, {"n": 3}, {"n": 3.0}, {"n": True}), spec(where={"n": 3}))
    assert [row.line for row in chosen] == [1, 2, 3]
    chosen, _ = select(rows({"n": 1}, {"n": True}), spec(where={"n": True}))
    assert [row.line for row in chosen] == [2]


def test_a_row_without_the_column_of_where_is_a_problem() -> None:
    given = [*numbered(5), Row(9, {"text": "x", "evan": True})]
    (problem,) = check_rows(given, spec(where={"even": True}))
    assert (problem.line, problem.suggestion) == (9, "did you mean 'evan'?")


@pytest.mark.parametrize(
    ("changes", "key"), [({"where": {"n": 77}}, "where"), ({"rows": "50:"}, "rows")]
)
def test_nothing_left(changes: dict[str, Any], key: str) -> None:
    assert [item.key for item in check_rows(numbered(8), spec(**changes))] == [key]


def test_rows_that_are_not_chosen_may_be_broken() -> None:
    given = [*numbered(8), Row(9, {"text": "", "n": 9, "even": False})]
    assert [item.line for item in check_rows(given, spec())] == [9]
    assert check_rows(given, spec(rows=":8")) == []


def test_several_files_are_told_apart(tmp_path: Path) -> None:
    first, second = tmp_path / "a.jsonl", tmp_path / "b.csv"
    first.write_text('{"text": "one"}\n{"text": "two"}\n')
    second.write_text("text\nthree\n\nfour\n")
    read = read_files([first, second])
    found, problems = read.rows, read.problems
    assert [(row.file, row.line, row.values["text"]) for row in found] == [
        (0, 1, "one"),
        (0, 2, "two"),
        (1, 2, "three"),
        (1, 4, "four"),
    ]
    assert problems == []
    parts = load_parts(DataFiles("d", spec(), (first, second)))
    places = {item.place for item in (*parts.train, *parts.validation, *parts.eval)}
    assert places == {"a.jsonl:1", "a.jsonl:2", "b.csv:2", "b.csv:4"}
    second.write_text("text\nthree,four\n")
    with pytest.raises(StepError, match=r"data set d: b\.csv:2: 2 fields"):
        load_parts(DataFiles("d", spec(), (first, second)))


def test_made_rows_are_named_by_number_and_column(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"text": "one"}\n{"text": [1]}\n')
    with pytest.raises(StepError, match="row 2: the column 'text' holds an array") as error:
        load_parts(DataFiles("d", spec(), (file,), made=True))
    assert error.value.cause == "bad_input"


def data(folder: Path, name: str, texts: str, **changes: Any) -> DataFiles:
    file = folder / f"{name}.csv"
    file.write_text("\n".join(["text", *texts]) + "\n")
    return DataFiles(name, spec(**changes), (file,))


def test_other_data_sets_are_parts(tmp_path: Path) -> None:
    from dataclasses import replace

    held_out = data(tmp_path, "test", "xy")
    validation = data(tmp_path, "dev", "v")
    main = data(tmp_path, "main", "abcx", held_out="test", validation_data="dev")
    parts = load_parts(replace(main, held_out=held_out, validation=validation))
    assert [len(part) for part in (parts.train, parts.validation, parts.eval)] == [4, 1, 2]
    assert look(parts).warnings == ("1 of 2 held-out rows are trained on too: test.csv:2",)
    assert look(parts).rows == {"training": 4, "validation": 1, "held-out": 2}
    main = data(tmp_path, "main", "abc", held_out="test", split={"validation": "eval"})
    parts = load_parts(replace(main, held_out=held_out))
    assert [item.text for item in parts.validation] == ["x", "y"]
    assert len(parts.train) == 3


ALPACA = {"instruction": "Add.", "input": "1 and 2", "output": "3"}


@pytest.mark.parametrize("empty", [{"input": ""}, {"input": None}, None])
def test_alpaca(empty: dict[str, JsonValue] | None) -> None:
    from pipeline.data.examples import make_examples

    wanted = DataSpec(path="x", pair_format="alpaca", chat=False)
    bare: dict[str, JsonValue] = {"instruction": "Sing.", "output": "La."}
    given = rows({**ALPACA}, {**bare, **(empty or {})})
    assert check_rows(given, wanted, part=True) == []
    full, short = make_examples(given, wanted)
    assert "further context" in full.text
    assert full.text.endswith("### Instruction:\nAdd.\n\n### Input:\n1 and 2\n\n### Response: ")
    assert full.completion == "3"
    assert "context" not in short.text
    assert short.text.endswith("### Instruction:\nSing.\n\n### Response: ")
    assert not full.chat


def test_chip2() -> None:
    from pipeline.data.examples import make_examples

    wanted = DataSpec(path="x", pair_format="chip2")
    given = rows({"text": "<human>: How\nare you?\n<bot>: Well."})
    assert check_rows(given, wanted, part=True) == []
    (example,) = make_examples(given, wanted)
    assert (example.text, example.completion) == ("How\nare you?", "Well.")
    for text in ("How?", "<human>: a\n<bot>: b\n<human>: c\n<bot>: d", "<human>: a\n<bot>: "):
        (problem,) = check_rows([*given, Row(7, {"text": text})], wanted, part=True)
        assert problem.line == 7
        assert "turn" in problem.message


def test_self_instruct_and_its_missing_column() -> None:
    from pipeline.data.examples import make_examples

    wanted = DataSpec(path="x", pair_format="self_instruct", system="Be brief.")
    (example,) = make_examples(rows({"prompt": "q", "completion": "a"}), wanted)
    assert [turn.role for turn in example.prompt] == ["system", "user"]
    assert example.completion == "a"
    (problem,) = check_rows(rows({"prompt": "q", "complete": "a"}), wanted)
    assert (problem.key, problem.suggestion) == ("pair_format", "did you mean 'complete'?")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"input_ids": "1 2"}, "list of numbers"),
        ({"input_ids": [1, "2"]}, "whole numbers"),
        ({"input_ids": [1, -2]}, "negative"),
        ({"input_ids": [1]}, "at least two"),
        ({"input_ids": [1, 2], "labels": [1]}, "has 1 numbers for 2"),
        ({"input_ids": [1, 2], "labels": [1, -100]}, "nothing is learnt"),
        ({"input_ids": [1, 2, 3], "labels": [2, 3, -100]}, "the token itself"),
    ],
)
def test_broken_tokens(row: dict[str, JsonValue], said: str) -> None:
    given = [Row(1, {"input_ids": [1, 2, 3]}), Row(2, row)]
    (problem,) = check_rows(given, DataSpec(path="x", tokens=True), part=True)
    assert problem.line == 2
    assert said in problem.message


@pytest.mark.parametrize(
    "settings",
    [
        {"pair_format": "alpaca", "completion": "{a}"},
        {"tokens": True, "system": "s"},
        {"template": "{a}", "chat_template": "x"},
        {"template": "{a}", "split": {"eval": 0, "validation": "eval"}},
    ],
)
def test_settings_that_contradict(settings: dict[str, JsonValue]) -> None:
    with pytest.raises(ValidationError):
        DataSpec.model_validate({"path": "x", **settings})
