"""An earlier bench is read as it was written; what is none, is broken or is newer is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from targets.bench.read_bench import read_bench
from targets.errors import ConfigError
from tests.support.bench_data import whole_bench


def written(folder: Path, change: Callable[[Any], None] = lambda _: None) -> Path:
    table = json.loads(whole_bench().model_dump_json())
    change(table)
    file = folder / "bench.json"
    file.write_text(json.dumps(table))
    return file


def test_what_was_written_is_read(tmp_path: Path) -> None:
    file = written(tmp_path)
    assert read_bench(file) == whole_bench()
    assert read_bench(tmp_path) == whole_bench()


def refused(file: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        read_bench(file)
    assert caught.value.exit_code == 2
    assert str(file) in str(caught.value)
    return str(caught.value)


def test_a_newer_one_is_refused(tmp_path: Path) -> None:
    said = refused(written(tmp_path, lambda table: table.update(schema_version=2)))
    assert "made by a newer Quern" in said
    assert "schema_version" in said


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is not JSON"),
        ('{\n"a": 1,,\n}', ":2:"),
        ("[]", "no schema_version"),
        ('{"schema_version": true}', "no schema_version"),
        ('{"schema_version": 1}', "build: Field required"),
    ],
)
def test_what_is_none_is_refused(text: str, why: str, tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    file.write_text(text)
    assert why in refused(file)


def test_what_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    assert "cannot be read" in refused(tmp_path / "nothing.json")
    file = tmp_path / "bench.json"
    file.write_bytes(b"\xff\xfe\x00")
    assert "not UTF-8" in refused(file)


def test_a_broken_value_is_named_with_its_place(tmp_path: Path) -> None:
    def shorten(table: Any) -> None:
        table["targets"][0]["status"] = "fine"
        table["targets"][0]["colour"] = "red"

    said = refused(written(tmp_path, shorten))
    assert "targets.0.status: Input should be" in said
    assert "targets.0.colour: Extra inputs are not permitted" in said


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_times_that_cannot_have_been_measured_are_refused(value: float, tmp_path: Path) -> None:
    def spoil(table: Any) -> None:
        rounds = table["targets"][0]["measurements"][0]["artifact"]["rounds"]
        rounds[2]["timings"]["short"]["token_ms"][3] = value

    said = refused(written(tmp_path, spoil))
    assert "targets.0.measurements.0.artifact.rounds.2.timings.short.token_ms" in said


def test_of_very_many_mistakes_ten_are_named(tmp_path: Path) -> None:
    def spoil(table: Any) -> None:
        for number in range(30):
            table[f"key{number}"] = 1

    assert len(refused(written(tmp_path, spoil)).splitlines()) == 10
