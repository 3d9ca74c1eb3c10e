"""Which rows weights are rounded for: some of the training part, and none that is held out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.contract.data_files import DataFiles
from pipeline.contract.data_spec import DataSpec, Split
from pipeline.contract.errors import StepError
from pipeline.contract.step import Inputs
from pipeline.data.tokenize import Codec
from pipeline.training.calibration_rows import calibration_rows
from tests.support.toy_tokenizer import ToyTokenizer

TRAIN = [(f"{number} {number + 1}", str(number + 2)) for number in range(100, 140)]


class Warnings:
    """A reporter that keeps warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def progress(self, done: int, total: int, unit: str = "steps", **metrics: float) -> None:
        """Ignore it."""

    def warn(self, message: str) -> None:
        """Keep the warning."""
        self.warnings.append(message)

    def note(self, message: str) -> None:
        """Ignore it."""

    def text(self, text: str) -> None:
        """Ignore it."""


def rows_file(path: Path, rows: list[tuple[str, str]]) -> Path:
    """Write rows as JSON Lines."""
    lines = [json.dumps({"asked": asked, "answer": answer}) for asked, answer in rows]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def chosen(
    folder: Path, held_out: list[tuple[str, str]], count: int, max_length: int = 64
) -> tuple[list[tuple[int, ...]], list[str]]:
    """Return the rows that are chosen of :data:`TRAIN`, and the warnings."""
    spec = DataSpec(
        path="a",
        prompt="{asked}",
        completion="{answer}",
        chat=False,
        split=Split(eval=0, validation=0),
    )
    kept = DataFiles("held", spec, (rows_file(folder / "held.jsonl", held_out),))
    data = DataFiles("train", spec, (rows_file(folder / "train.jsonl", TRAIN),), held_out=kept)
    report = Warnings()
    inputs = Inputs({}, data, seed=3, threads=1, report=report)
    return calibration_rows(inputs, Codec(ToyTokenizer()), count, max_length), report.warnings


def test_rows_of_the_training_part_are_drawn_by_the_seed(tmp_path: Path) -> None:
    rows, warnings = chosen(tmp_path, [("7 8", "9")], 10)
    asked = [row[1:3] for row in rows]
    assert len(set(asked)) == 10
    assert set(asked) <= {tuple(map(int, prompt.split())) for prompt, _ in TRAIN}
    assert asked != sorted(asked)[:1] * 10
    assert rows == chosen(tmp_path, [("7 8", "9")], 10)[0]
    assert warnings == []
    assert {len(row) for row in chosen(tmp_path, [("7 8", "9")], 10, max_length=3)[0]} == {3}


def test_a_row_that_is_held_out_as_well_is_not_looked_at(tmp_path: Path) -> None:
    leaked = TRAIN[::4]
    rows, warnings = chosen(tmp_path, leaked, 40)
    assert len(rows) == 30
    seen = {row[1:3] for row in rows}
    assert not seen & {tuple(map(int, prompt.split())) for prompt, _ in leaked}
    assert warnings == [
        "10 of 40 rows that were drawn of the training part are held out as well, and are not "
        "looked at"
    ]


def test_nothing_is_rounded_for_held_out_rows_alone(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="no row of the training part is left"):
        chosen(tmp_path, TRAIN, 40)
