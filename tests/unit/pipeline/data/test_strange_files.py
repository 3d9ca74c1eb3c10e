"""Files as other programs leave them: read as Python's modules read them, or refused by name."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.contract.data_files import DataFiles
from pipeline.contract.data_spec import DataSpec
from pipeline.data.chat import chat_messages, tools_of
from pipeline.data.check import check_rows
from pipeline.data.load import read_file
from pipeline.data.look import look
from pipeline.data.parts import load_parts
from pipeline.data.row_store import Row

NOTHING_HELD_OUT = {"eval": 0, "validation": 0}
PAIRS: dict[str, Any] = {
    "prompt": "{prompt}",
    "completion": "{completion}",
    "split": NOTHING_HELD_OUT,
}
LABELLED: dict[str, Any] = {"prompt": "{text}", "completion": "{label}", "label": "label"}


def lines(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def read(folder: Path, name: str, content: str | bytes) -> tuple[list[Row], str]:
    """Return the rows of a file, and its first problem in words."""
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    found = read_file(file)
    said = [f"{problem.line}: {problem.message}" for problem in found.problems]
    return list(found.rows), said[0] if said else ""


def refused(rows: list[dict[str, Any]], **spec: Any) -> list[str]:
    """Return what is refused of rows."""
    settings = DataSpec.model_validate({"path": "x", "split": NOTHING_HELD_OUT, **spec})
    found = check_rows([Row(at, row) for at, row in enumerate(rows, start=1)], settings)
    return [f"{problem.line}: {problem.message}" for problem in found]


def warned(folder: Path, content: str, **spec: Any) -> tuple[str, ...]:
    """Return what is said of a file of JSON lines."""
    file = folder / "rows.jsonl"
    file.write_text(content, encoding="utf-8")
    settings = DataSpec.model_validate({"path": "x", "split": NOTHING_HELD_OUT, **spec})
    parts = load_parts(DataFiles("x", settings, (file,)))
    return (*parts.notes, *look(parts).warnings)


@pytest.mark.parametrize(
    ("content", "dialect"),
    [
        ("prompt,completion\n" + '"' + "word " * 50_000 + '",b\n', {}),
        ('prompt, completion\n"a, b", "c ""d"""\ne,   f\n', {"skipinitialspace": True}),
        ('prompt; completion\n"a; b"; "c"\n', {"skipinitialspace": True, "delimiter": ";"}),
        ('prompt, completion,other\n a, "b" c,d\n', {}),
    ],
    ids=["a cell longer than csv's own limit", "blanks", "blanks and semicolons", "some blanks"],
)
def test_cells_are_those_of_csv(tmp_path: Path, content: str, dialect: dict[str, Any]) -> None:
    limit = csv.field_size_limit(2**31 - 1)
    try:
        header, *expected = csv.reader(io.StringIO(content, newline=""), **dialect)
    finally:
        csv.field_size_limit(limit)
    rows, said = read(tmp_path, "rows.csv", content)
    assert not said
    assert [[*row.values] for row in rows[:1]] == [[name.strip() for name in header]]
    assert [[*row.values.values()] for row in rows] == expected


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.csv", "a,b\n1,2\na,b\n3,4\n", "3: the header stands here again"),
        ("a.csv", "a,b\n1,2\n\ufeffa,b\n3,4\n", "3: a byte order mark stands within the file"),
        ("a.jsonl", '{"a": 1}\n\ufeff{"a": 2}\n', "2: a byte order mark stands within the file"),
        ("a.csv", "a,b\nx\0y,2\n", "2: the column 'a' holds \\u0000, which ends a text"),
        ("a.jsonl", '{"a": ["x\\u0000"]}\n', "1: the column 'a' holds \\u0000, which ends a text"),
        ("a.csv", ",b\n0,x\n", "1: the header has a column without a name"),
        (
            "a.jsonl",
            gzip.compress(b'{"a": 1}\n', mtime=0),
            "None: the file is packed with gzip, not text",
        ),
        ("a.csv", b"PK\x03\x04\x14\0", "None: the file is a ZIP archive, or a workbook of Excel"),
        ("a.json", b"PAR1\x15\x04", "None: the file is a Parquet file, not text"),
        ("a.csv", "version https://git-lfs.github.com/spec/v1\n", "None: is a pointer of Git LFS"),
    ],
)
def test_what_is_no_table_of_text_is_refused(
    tmp_path: Path, name: str, content: str | bytes, problem: str
) -> None:
    assert read(tmp_path, name, content)[1].startswith(problem)


def test_a_header_of_one_column_may_be_a_word_of_the_text(tmp_path: Path) -> None:
    rows, said = read(tmp_path, "a.csv", "word\nfirst\nword\n")
    assert [row.values["word"] for row in rows] == ["first", "word"]
    assert not said


def test_chats_in_the_layout_of_sharegpt_are_those_of_the_others() -> None:
    others: list[Any] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "ho", "weight": 0},
        {"role": "tool", "content": "7"},
        {"role": "assistant", "content": "so long", "weight": 1},
    ]
    names = {"user": "human", "assistant": "gpt", "tool": "observation", "system": "system"}
    theirs: list[Any] = [
        {
            "from": names[turn["role"]],
            "value": turn["content"],
            **{key: turn[key] for key in ("weight",) if key in turn},
        }
        for turn in others
    ]
    assert chat_messages(theirs) == chat_messages(others)
    assert chat_messages(json.dumps(theirs)) == chat_messages(others)


@pytest.mark.parametrize(
    ("turns", "problem"),
    [
        ([{"from": "human", "value": "a"}, {"from": "function_call", "value": "b"}], "turn 2 has"),
        ([{"from": "human"}, {"from": "gpt", "value": "b"}], "turn 1 has no text"),
        ("[{'role': 'user', 'content': 'a'}]", "messages are text, but no JSON"),
        ([{"role": "user", "content": "\u200b"}, {"role": "assistant", "content": "a"}], "no text"),
    ],
)
def test_chats_that_cannot_be_read(turns: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        chat_messages(turns)


def test_a_turn_with_the_keys_of_both_layouts_keeps_them_all() -> None:
    both: dict[str, Any] = {"role": "user", "content": "a", "from": "human", "value": "b"}
    (turn, _) = chat_messages([both, {"role": "assistant", "content": "c"}])
    assert turn.for_template == both  # and a template that does not write them is refused


CHAT: list[Any] = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]


def test_columns_that_belong_to_a_chat_or_a_known_layout_are_refused_by_name() -> None:
    assert refused([{"m": CHAT, "system": "Be brief.", "images": []}], messages="m") == [
        "1: the column 'system' would not be shown to the model: only messages and tools are"
    ]
    alpaca: dict[str, Any] = {
        "instruction": "do",
        "output": "done",
        "history": [["a", "b"]],
        "system": "S",
    }
    assert refused([alpaca], pair_format="alpaca") == [
        "1: the columns 'history', 'system' would not be shown to the model: only instruction, "
        "output, input are"
    ]
    bare = {**alpaca, "history": [], "system": " "}
    assert refused([bare], pair_format="alpaca") == []
    named = {**alpaca, "history": None}
    assert refused([named], pair_format="alpaca", system="{system}") == []


def test_columns_that_nobody_reads_are_named(tmp_path: Path) -> None:
    rows = lines({"prompt": "a", "completion": "b", "id": 1}, {"prompt": "c", "completion": "d"})
    assert warned(tmp_path, rows, **PAIRS) == (
        "columns that no setting names, so that they are not read: id",
    )


@pytest.mark.parametrize("blank", ["\u200b", "\ufeff \u2060", "\u3000\t"])
def test_what_nobody_can_see_is_empty(blank: str) -> None:
    rows = [{"prompt": "a", "completion": "b"}, {"prompt": blank, "completion": "c"}]
    assert refused(rows, **PAIRS) == ["2: the column 'prompt' is empty"]


def test_labels_that_nobody_can_tell_apart_are_refused_and_others_that_look_alike_named(
    tmp_path: Path,
) -> None:
    for one, other in (
        ("joy", "joy "),
        ("caf\u00e9", "cafe\u0301"),
        ("no\u00a0joy", "no jo\u00ady"),
    ):
        labelled = [{"text": "a", "label": one}, {"text": "b", "label": other}]
        (problem,) = refused(labelled, **LABELLED)
        assert problem.startswith(f"2: the labels {one!r} and {other!r} differ only in white space")
    for one, other in (("Joy", "joy"), ("1", "1.0")):
        rows = lines({"text": "a", "label": one}, {"text": "b", "label": other})
        assert warned(tmp_path, rows, **LABELLED) == (
            "1 group of labels differ only in case or in how they are written, and count as "
            f"others: {one!r} and {other!r}",
        )


def test_text_that_was_read_in_a_wrong_encoding_is_named(tmp_path: Path) -> None:
    texts = ("café", "naïve – “x”", "Füße", "日本")
    # Bytes that Windows-1252 lacks are read as Latin-1 by most programs.
    wrong = [
        "".join(bytes([b]).decode("cp1252" if b not in LACKED else "latin-1") for b in t.encode())
        for t in texts
    ]
    given = lines(*({"prompt": text, "completion": "x"} for text in (*texts, *wrong, "caf\ufffd")))
    (said,) = warned(tmp_path, given, **PAIRS)
    assert said.startswith("4 rows hold what is left of a character that was read in a wrong ")
    assert [f"rows.jsonl:{line} (" in said for line in range(1, 10)] == [
        *(False, False, False, False),
        *(True, True, True, False, True),
    ]


LACKED = (0x81, 0x8D, 0x8F, 0x90, 0x9D)


def test_texts_that_look_the_same_are_in_the_same_part(tmp_path: Path) -> None:
    texts = ["what a day", "what\u00a0a day\u200b", "wh\u00adat a day", "fine", "bad", "more"]
    file = tmp_path / "rows.jsonl"
    file.write_text(lines(*({"prompt": text, "completion": "x"} for text in texts)))
    for seed in range(8):
        split = {"eval_count": 2, "validation": 0, "seed": seed}
        spec = DataSpec.model_validate({"path": "x", **PAIRS, "split": split})
        parts = load_parts(DataFiles("x", spec, (file,)))
        held = {example.line for example in parts.eval}
        assert len(held & {1, 2, 3}) in (0, 3) and held


def test_tools_may_each_be_json_text() -> None:
    tools = [{"name": "clock", "parameters": {}}, {"name": "stop"}]
    assert tools_of([json.dumps(tool) for tool in tools]) == tuple(tools)
    with pytest.raises(ValueError, match="a tool is text, but no JSON"):
        tools_of(["clock"])
