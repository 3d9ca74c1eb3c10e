"""CSV and TSV are read as Python's own csv reads them, whatever characters their cells hold."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from pipeline.data.load import read_rows

# What str.splitlines cuts at, and csv does not: vertical tab, form feed, file, group and record
# separators, next line, and Unicode's own line and paragraph separators.
ODD = "\v\f\x1c\x1d\x1e\x85\u2028\u2029"
CELLS = [
    ("plain", "1"),
    *((f"page {ord(mark)}{mark}next", "2") for mark in ODD),
    ("a\nb", "quoted line break"),
    ("a\r\nb", "and Windows'"),
    ('say "joy"', "quotes"),
    ("a,b;c\td", "delimiters"),
    ("  spaces  ", "kept"),
    ("last", ""),
]


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize(("suffix", "delimiter"), [(".csv", ","), (".tsv", "\t")])
def test_rows_are_those_of_pythons_csv(
    tmp_path: Path, suffix: str, delimiter: str, ending: str
) -> None:
    path = tmp_path / f"rows{suffix}"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator=ending)
        writer.writerows([("text", "label"), *CELLS])
    rows, problems = read_rows(path)
    with path.open(newline="", encoding="utf-8") as file:
        right = list(csv.DictReader(file, delimiter=delimiter))
    assert problems == []
    assert [dict(row.values) for row in rows] == right
    assert len(rows) == len(CELLS)


def test_the_line_of_a_broken_row_is_that_of_an_editor(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,label\na\u2028b,1\nc,2,3\n", encoding="utf-8", newline="")
    _, (problem,) = read_rows(path)
    assert problem.line == 3
