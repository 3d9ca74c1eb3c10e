"""What is said of a release and its rebuild: the sentence that the user reads."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from targets.cli.options import PROJECT
from targets.release.differences.compare_files import compare_bytes, compare_folders
from targets.release.differences.difference import Difference
from targets.release.differences.print_differences import print_differences


def said(name: str, released: str | bytes, rebuilt: str | bytes) -> list[str]:
    """Return ``where: what`` of every difference."""
    old, new = (one.encode() if isinstance(one, str) else one for one in (released, rebuilt))
    return [f"{one.where}: {one.what}" for one in compare_bytes(name, old, new)]


def test_equal_files_are_not_even_read_as_what_they_are() -> None:
    assert said("broken.json", "{", "{") == []


def test_json_names_the_key_both_values_and_the_relative_difference() -> None:
    old = {"quality": {"artifact": {"accuracy": 0.9}}, "checks": [{"status": "passed"}]}
    new = {"quality": {"artifact": {"accuracy": 0.72}}, "checks": [{"status": "failed"}]}
    found = compare_bytes("report.json", json.dumps(old).encode(), json.dumps(new).encode())
    assert [(one.where, one.what) for one in found] == [
        ("quality.artifact.accuracy", "0.9 released, 0.72 rebuilt (20 %)"),
        ("checks[0].status", '"passed" released, "failed" rebuilt'),
    ]
    assert found[0].size == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('{"a": 1}', '{"a": 1, "b.c": 2}', '["b.c"]: only rebuilt: 2'),
        ('{"a": 1}', '{"a": true}', "a: 1 released, true rebuilt"),
        ('{"a": 1}', '{"a": 1.0}', "a: 1 released, 1.0 rebuilt"),
        ("[1, 2, 3, 4]", "[1, 3, 4]", "value: 4 items released, 3 rebuilt"),
        ('{"a":1}', '{"a": 1}', "bytes: what is compared in it is the same, the bytes are not: "),
        ('{"a": 1}', "{", ": the rebuilt file cannot be read as JSON: Expecting property name"),
        ("[1]", "[" * 100_000, ": the rebuilt file cannot be read as JSON: it is nested too deep"),
        ("{}", b"\xff", ": the rebuilt file cannot be read as UTF-8 text: byte 0 is wrong"),
    ],
)
def test_json_differences(old: str, new: str, expected: str) -> None:
    (sentence,) = said("a.json", old, new)
    assert sentence.startswith(expected)


def test_other_files_say_where_the_bytes_begin_to_differ() -> None:
    assert said("a.bin", b"abcdef", b"abXdeX") == [
        "bytes: 2 of 6 bytes differ, the first at offset 2"
    ]
    assert said("README.md", "a\nb\n", "a\nB\n") == [
        "bytes: 1 of 4 bytes differs, the first at offset 2"
    ]
    assert said("a.bin", b"abc", b"ab") == [
        "bytes: 3 bytes released, 2 rebuilt; the shorter one is the beginning of the longer one"
    ]


def test_only_the_first_are_listed_and_the_rest_counted() -> None:
    old, new = ({str(key): value for key in range(332)} for value in (1, 2))
    found = compare_bytes("a.json", json.dumps(old).encode(), json.dumps(new).encode())
    assert len(found) == 21
    assert found[-1] == Difference(file="a.json", what="and 312 more", size=0.5)


def test_folders_say_which_files_only_one_of_them_has(tmp_path: Path) -> None:
    released, rebuilt = tmp_path / "released", tmp_path / "rebuilt"
    for folder, name in ((released, "old"), (rebuilt, "new")):
        (folder / "sub").mkdir(parents=True)
        (folder / "sub" / name).write_text("text")
        (folder / "same").write_text("same")
    assert [(one.file, one.what) for one in compare_folders(released, rebuilt)] == [
        ("sub/new", "only rebuilt: 4 bytes"),
        ("sub/old", "only released: 4 bytes"),
    ]


def test_what_is_shown_cannot_steer_the_terminal() -> None:
    console = Console(width=20, record=True, file=None, quiet=False)
    with console.capture() as captured:
        print_differences(
            console,
            [
                Difference(file="a.md", where="line 1", what="[red]\x1b[2J and a long sentence"),
                Difference(file="a.md", where="line 2", what="more"),
            ],
        )
    assert captured.get().splitlines() == [
        "differs  a.md",
        "  line 1: [red]\\x1b[2J and a long sentence",
        "  line 2: more",
    ]


def test_the_libraries_of_tensors_are_imported_only_where_they_are_used() -> None:
    program = (
        "import sys\n"
        "import targets.release.differences.compare_files\n"
        "import targets.release.differences.print_differences\n"
        "print(*{name.partition('.')[0] for name in sys.modules})\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert not {"numpy", "onnx", "ml_dtypes", "safetensors"} & set(ran.stdout.split())
