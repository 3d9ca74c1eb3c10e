"""Reads CSV and TSV with Python's ``csv`` module, and says which dialect a file has, and why."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import islice

_OTHER_DELIMITERS = ("\t", ";")
"""What spreadsheets separate CSV with where a comma is the decimal mark, or a table is copied."""
_NAMES = {",": "commas", "\t": "tabs", ";": "semicolons"}


@dataclass(frozen=True)
class Dialect:
    """How the cells of a file are told apart."""

    delimiter: str
    quoted: bool
    """Whether ``"`` encloses cells, as CSV has it; else it is a character like any other."""
    why: str

    def __str__(self) -> str:
        quotes = "quotes as in CSV" if self.quoted else "quotes are text"
        return f"cells between {_NAMES[self.delimiter]}, {quotes}: {self.why}"


@dataclass(frozen=True)
class Record:
    """One record: its first line, counted from 1, and its cells."""

    line: int
    cells: list[str]


class BrokenRecord(ValueError):
    """``csv`` refuses what stands in a line."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def csv_dialect(text: str) -> Dialect:
    """Return the dialect of a CSV file: with commas, unless the header has none of them but tabs or
    semicolons."""
    header = _header(text, ",", quoted=True)
    if len(header) == 1:
        for delimiter in _OTHER_DELIMITERS:
            if len(_header(text, delimiter, quoted=True)) > 1:
                why = f"the header has {_NAMES[delimiter]} and no comma"
                return Dialect(delimiter, quoted=True, why=why)
    return Dialect(",", quoted=True, why="a .csv file")


def tsv_dialect(text: str) -> Dialect:
    """Return the dialect of a TSV file: of plain text, or of a program that quotes cells as in CSV.

    Quotation marks that do not enclose cells are text, and so are those that a program would not
    have written, since nothing in the cell needs them. If each line by itself has as many cells as
    the header, and a cell of several lines holds values of other rows, these lines are rows.
    """
    if '"' not in text:
        return Dialect("\t", quoted=False, why="it has no quotation mark")
    plain = _is_regular(text, quoted=False)
    if not _is_regular(text, quoted=True):
        if plain:
            return Dialect("\t", quoted=False, why="its quotation marks enclose no cells")
        return Dialect("\t", quoted=True, why="its lines have different numbers of cells")
    if not plain:
        return Dialect("\t", quoted=True, why="only so its rows have as many cells as the header")
    if all(name.startswith('"') for name in _header(text, "\t", quoted=False)):
        return Dialect("\t", quoted=True, why="the names in its header are quoted")
    joined, single = _joined(text)
    if joined:
        if _holds_values_of(joined, single):
            return Dialect("\t", quoted=False, why="each line has as many cells as the header")
        return Dialect("\t", quoted=True, why="quotation marks enclose line breaks")
    if _doubles_quotes(text):
        return Dialect("\t", quoted=True, why="quotation marks within quoted cells are doubled")
    return Dialect("\t", quoted=False, why="no quoted cell needs its quotation marks")


def records(text: str, dialect: Dialect) -> Iterator[Record]:
    """Yield the records of ``text`` that are not blank. Raises :class:`BrokenRecord`."""
    reader = csv.reader(
        # As csv asks for it: a line ends where csv says so, not also at U+2028 or a form feed.
        StringIO(text, newline=""),
        delimiter=dialect.delimiter,
        quoting=csv.QUOTE_MINIMAL if dialect.quoted else csv.QUOTE_NONE,
        strict=True,
    )
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise BrokenRecord(line, str(error)) from None
        if cells is None:
            return
        if any(cell.strip() for cell in cells):
            yield Record(line, cells)


def swallows(cells: Sequence[str], delimiter: str) -> bool:
    """Return whether one of ``cells`` looks like several rows: cut at its line breaks it has just
    the cells that rows would have, as after a quotation mark that belongs to the text."""
    others = len(cells) - 1
    for at, cell in enumerate(cells):
        if not others or "\n" not in cell:
            continue
        first, *middle, last = [line.count(delimiter) for line in cell.split("\n")]
        if (first, last) == (others - at, at) and all(count == others for count in middle):
            return True
    return False


def _header(text: str, delimiter: str, quoted: bool) -> list[str]:
    try:
        first = islice(records(text, Dialect(delimiter, quoted, "")), 1)
        return next((record.cells for record in first), [])
    except BrokenRecord:
        return []


def _is_regular(text: str, quoted: bool) -> bool:
    """Return whether every record has as many cells as the first."""
    try:
        return len({len(record.cells) for record in records(text, Dialect("\t", quoted, ""))}) < 2
    except BrokenRecord:
        return False


def _doubles_quotes(text: str) -> bool:
    plain = records(text, Dialect("\t", quoted=False, why=""))
    quoted = [cell[1:-1] for record in plain for cell in record.cells if cell.startswith('"')]
    return bool(quoted) and all('""' in cell for cell in quoted)


def _joined(text: str) -> tuple[list[list[str]], list[list[str]]]:
    """Return the records with a cell of several lines if read with quotes, and the others."""
    several: list[list[str]] = []
    single: list[list[str]] = []
    for record in records(text, Dialect("\t", quoted=True, why="")):
        into = several if any("\n" in cell for cell in record.cells) else single
        into.append(record.cells)
    return several, single


def _holds_values_of(joined: Sequence[Sequence[str]], others: Sequence[Sequence[str]]) -> bool:
    """Return whether what follows the first tab in a cell is a value that another row has in the
    next column."""
    values = [set(column) for column in zip(*others, strict=True)]
    for cells in joined:
        for at, cell in enumerate(cells[:-1], start=1):
            _, tab, rest = cell.partition("\n")[0].partition("\t")
            if tab and values and rest.partition("\t")[0] in values[at]:
                return True
    return False
