"""What differs in files is named by its place, and how a file is written does not count."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.onnx.differences import file_differences, json_differences

LONG = [{"id": number, "content": f"token {number}"} for number in range(20)]


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        ({"a": {"b": 1}}, {"a": {"b": 1}}, []),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, ["a.b is 1, not 2"]),
        ({"a": 1}, {"a": True}, ["a is 1, not true"]),
        ({}, {"a": 1}, ["a is missing"]),
        ({"a": [1]}, {}, ["a is [1] and should not be there"]),
        ({"ends": [1]}, {"ends": [1, 2]}, ["ends is [1], not [1, 2]"]),
        (LONG[:-1], LONG, [" has 19 entries, not 20"]),
        ([*LONG[:-1], {"id": 19, "content": "x"}], LONG, ['[19].content is "x", not "token 19"']),
    ],
)
def test_two_values(ours: Any, theirs: Any, said: list[str]) -> None:
    assert list(json_differences(ours, theirs)) == said


def write(folder: Path, name: str, content: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    return folder / name


def compared(folder: Path, name: str, ours: bytes, theirs: bytes) -> list[str]:
    return file_differences(write(folder / "a", name, ours), write(folder / "b", name, theirs))


def test_json_is_compared_by_what_it_says(tmp_path: Path) -> None:
    content = {"model": {"vocab": {"a": 1, "b": 2}}}
    plain = json.dumps(content).encode()
    assert compared(tmp_path, "t.json", json.dumps(content, indent=8).encode(), plain) == []
    changed = plain.replace(b'"b": 2', b'"b": 3')
    assert compared(tmp_path, "t.json", changed, plain) == ["t.json: model.vocab.b is 3, not 2"]
    (said,) = compared(tmp_path, "t.json", plain[:-1], plain)
    assert said.startswith("t.json cannot be read: ")
    twice = b'{"model": {}, ' + plain[1:]
    assert compared(tmp_path, "t.json", twice, plain) == [
        "t.json cannot be read: model stands twice"
    ]


@pytest.mark.parametrize(
    ("ours", "said"),
    [
        (b"one\ntwo\n", []),
        (b"one\n2\n", ['chat.jinja:2: "2", not "two"']),
        (b"one\n", ["chat.jinja has 4 bytes, not 8"]),
    ],
)
def test_other_files_line_by_line(tmp_path: Path, ours: bytes, said: list[str]) -> None:
    assert compared(tmp_path, "chat.jinja", ours, b"one\ntwo\n") == said
