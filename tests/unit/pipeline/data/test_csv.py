"""CSV and TSV are read as Python's own csv reads them, whatever characters their cells hold."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from pipeline.data.load import read_file, read_rows

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


def test_twenty_five_rows_are_not_read_as_forty(tmp_path: Path) -> None:
    texts = [f"row {n}{ODD[n % len(ODD)] if n < 15 else ' '}end" for n in range(25)]
    path = tmp_path / "rows.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *((text, "joy") for text in texts)])
    assert len(path.read_text("utf-8").splitlines()) == 41  # what was counted once
    rows, problems = read_rows(path)
    assert (len(rows), problems) == (25, [])
    assert [row.values["text"] for row in rows] == texts
    assert [row.line for row in rows] == list(range(2, 27))


def test_the_line_of_a_broken_row_is_that_of_an_editor(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,label\na\u2028b,1\nc,2,3\n", encoding="utf-8", newline="")
    _, (problem,) = read_rows(path)
    assert problem.line == 3


# Texts of people, in files that no program quoted: what csv reads without quotes is right.
PLAIN = {
    "a quote that begins": '"Hello there\tjoy\nfine\tsad\n',
    "a quote at both ends": '"Hello there"\tjoy\nfine\tsad\n',
    "a quote and more": '"Hello," she said\tjoy\nfine\tsad\n',
    "two that begin": '"one\tjoy\n"two\tsad\n',
    "one opens, another row closes": 'a\tjoy\n"Wait\tjoy\nstop"\tsad\nb\tsad\n',
    "inches": '5" disk\tjoy\n3" disk\tsad\n',
    "nothing": "a\tjoy\nb\tsad\n",
}


@pytest.mark.parametrize("rows", PLAIN.values(), ids=PLAIN)
def test_plain_text_between_tabs_keeps_its_quotation_marks(tmp_path: Path, rows: str) -> None:
    path = tmp_path / "rows.tsv"
    path.write_text(f"text\tlabel\n{rows}", encoding="utf-8", newline="")
    with path.open(newline="", encoding="utf-8") as file:
        right = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    read = read_file(path)
    assert read.problems == []
    assert [dict(row.values) for row in read.rows] == right
    (note,) = read.notes
    assert note.message.startswith("read with cells between tabs, quotes are text: ")


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
def test_what_a_program_quoted_is_read_back(tmp_path: Path, quoting: int) -> None:
    cells = [("text", "label"), ('say "joy"', "joy"), ("a", "sad"), ('"b"', "sad"), ("5", "joy")]
    path = tmp_path / "rows.tsv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter="\t", quoting=quoting).writerows(cells)  # type: ignore[arg-type]
    rows, problems = read_rows(path)
    assert problems == []
    assert [tuple(row.values.values()) for row in rows] == cells[1:]


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_csv_without_a_comma_in_its_header_is_cut_where_its_header_is(
    tmp_path: Path, delimiter: str
) -> None:
    path = tmp_path / "rows.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows([("text", "label"), ("a, b", "1")])
    read = read_file(path)
    assert [dict(row.values) for row in read.rows] == [{"text": "a, b", "label": "1"}]
    assert "and no comma" in read.notes[0].message


def test_prose_of_several_lines_with_commas_is_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    cells = [("text", "label"), ("Hello, world\nbye", "joy"), ("a, b\nc, d\ne", "sad")]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(cells)
    read = read_file(path)
    assert [tuple(row.values.values()) for row in read.rows] == cells[1:]
    assert [note.line for note in read.notes] == [None]


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_many_lines_that_are_all_like_rows_are_named(tmp_path: Path, ending: str) -> None:
    path = tmp_path / "rows.csv"
    lines = ["id,text,answer", '1,"Wait,a', "2,b,c", "3,d,e", "4,f,g", '5,stop",h', "6,i,j"]
    path.write_text(ending.join(lines), encoding="utf-8", newline="")
    read = read_file(path)
    assert len(read.rows) == 2
    assert [note.line for note in read.notes] == [None, 2]


def test_a_cell_that_swallows_rows_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(
        'text,label\na,joy\n"Wait,joy\nstop,sad\nand go",sad\n"one\ntwo",joy\n',
        encoding="utf-8",
        newline="",
    )
    with path.open(newline="", encoding="utf-8") as file:
        right = [row["text"] for row in csv.DictReader(file)]
    read = read_file(path)
    assert [row.values["text"] for row in read.rows] == right
    dialect, swallowed = read.notes
    assert dialect.message == "read with cells between commas, quotes as in CSV: a .csv file"
    assert (swallowed.line, "looks like several rows" in swallowed.message) == (3, True)
