"""Reads CSV and TSV with Python's ``csv`` module, and says which dialect a file has, and why."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from io import StringIO
from itertools import islice

# A cell may hold a whole book; the size of files is limited where they are read.
csv.field_size_limit(2**31 - 1)

_OTHER_DELIMITERS = ("\t", ";")
"""What spreadsheets separate CSV with where a comma is the decimal mark, or a table is copied."""
_SURELY_ROWS = 3
"""More lines than this that all look like rows are rows."""
_NAMES = {",": "commas", "\t": "tabs", ";": "semicolons"}


@dataclass(frozen=True)
class Dialect:
    """How the cells of a file are told apart."""

    delimiter: str
    quoted: bool
    """Whether ``"`` encloses cells, as CSV has it; else it is a character like any other."""
    why: str
    skips_blanks: bool = False
    """Whether blanks after a delimiter belong to it."""

    def __str__(self) -> str:
        between = f"{_NAMES[self.delimiter]} and blanks" if self.skips_blanks else ""
        quotes = "quotes as in CSV" if self.quoted else "quotes are text"
        return f"cells between {between or _NAMES[self.delimiter]}, {quotes}: {self.why}"


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
    semicolons. If its header has blanks after all of them, so have its rows."""
    dialect = Dialect(",", quoted=True, why="a .csv file")
    header = _header(text, ",", quoted=True)
    if len(header) == 1:
        for delimiter in _OTHER_DELIMITERS:
            others = _header(text, delimiter, quoted=True)
            if len(others) > 1:
                why = f"the header has {_NAMES[delimiter]} and no comma"
                dialect, header = Dialect(delimiter, quoted=True, why=why), others
                break
    if len(header) > 1 and all(name.startswith(" ") for name in header[1:]):
        why = f"{dialect.why} whose header has blanks after {_NAMES[dialect.delimiter]}"
        return replace(dialect, why=why, skips_blanks=True)
    return dialect


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
    quoted = Dialect("\t", quoted=True, why="quotation marks enclose line breaks")
    several = [record for record in records(text, quoted) if any("\n" in c for c in record.cells)]
    if several:
        width = len(several[0].cells)
        if any(swallowing(text, quoted, width)):
            return Dialect("\t", quoted=False, why="each line has as many cells as the header")
        return quoted
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
        skipinitialspace=dialect.skips_blanks,
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


def swallowing(text: str, dialect: Dialect, width: int) -> Iterator[Record]:
    """Yield the records with a cell that looks like several rows of ``width`` cells, as after a
    quotation mark that belongs to the text."""
    shaped = [
        record
        for record in records(text, dialect)
        if any("\n" in cell for cell in record.cells) and _cut(record.cells, dialect, width)
    ]
    if shaped:
        single = (
            record.cells
            for record in records(text, dialect)
            if len(record.cells) == width and not any("\n" in cell for cell in record.cells)
        )
        values = [set(column) for column in zip(*single, strict=True)]
        for record in shaped:
            lines = _cut(record.cells, dialect, width)
            if len(lines) > _SURELY_ROWS or _known(lines, values):
                yield record


def _cut(cells: Sequence[str], dialect: Dialect, width: int) -> list[list[str]]:
    """Return the lines of a cell, cut to cells, if there are as many as rows would have; else
    nothing. The first line begins where the cell does, the last one ends there."""
    for at, cell in enumerate(cells):
        if "\n" not in cell:
            continue
        lines = [line.removesuffix("\r").split(dialect.delimiter) for line in cell.split("\n")]
        first, *middle, last = map(len, lines)
        if width > 1 and (first, last) == (width - at, at + 1) and {*middle} <= {width}:
            return [[*[""] * at, *lines[0]], *lines[1:-1]]
    return []


def _known(lines: Sequence[Sequence[str]], values: Sequence[AbstractSet[str]]) -> bool:
    """Return whether a cell of ``lines``, after their first column, is a value that another row has
    there: prose with a comma looks like two cells too."""
    return any(
        cell in known
        for line in lines
        for cell, known in zip(line[1:], values[1:], strict=False)
        if cell
    )


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
