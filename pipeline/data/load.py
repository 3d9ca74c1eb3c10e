"""Reads the rows of data files: JSON Lines, JSON, CSV or TSV, each with its line number."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path

from pydantic import JsonValue

from pipeline.data.problems import DataProblem, ProblemList
from pipeline.reading.files import MB, UnreadableError, read_text
from pipeline.reading.json_text import JsonError, JsonReader

_BROKEN = "rows that cannot be read"
_LARGEST = 2048 * MB
"""Largest text file, in bytes: all rows are held at once."""


@dataclass(frozen=True)
class Row:
    """One row: its first line in the file, counted from 1, and its columns."""

    line: int
    values: Mapping[str, JsonValue]
    file: int = 0
    """Number of the file, counted from 0."""


def read_files(paths: Sequence[Path]) -> tuple[list[Row], list[DataProblem]]:
    """Read the rows of all files, one after the other (see :func:`read_rows`)."""
    rows: list[Row] = []
    problems: list[DataProblem] = []
    for number, path in enumerate(paths):
        file_rows, wrong = read_rows(path)
        rows += (replace(row, file=number) for row in file_rows) if number else file_rows
        problems += (replace(problem, file=number) for problem in wrong)
    return rows, problems


def read_rows(path: Path) -> tuple[list[Row], list[DataProblem]]:
    """Return all rows of ``path``, and a problem for every row that cannot be read.

    The suffix determines the format. The text is UTF-8, with or without a byte order mark; blank
    lines are skipped, but count as lines.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        unknown = f"unknown kind of data file {path.suffix!r}"
        return [], [DataProblem(unknown, suggestion=f"one of {', '.join(_READERS)}")]
    try:
        text = read_text(path, _LARGEST)
    except OSError as error:
        return [], [DataProblem(f"cannot be read: {error.strerror or error}")]
    except UnreadableError as error:
        return [], [DataProblem(str(error), error.line, suggestion="save it as UTF-8 text")]
    rows: list[Row] = []
    problems = ProblemList()
    for item in reader(text):
        if isinstance(item, Row):
            rows.append(item)
        else:
            problems.add(_BROKEN, item)
    return rows, problems.all()


def text_of(value: JsonValue) -> str:
    """Return a column's value as text for templates: numbers and booleans as in JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _json_lines(text: str) -> Iterator[Row | DataProblem]:
    # Only \n ends a line: str.splitlines would cut inside strings at U+2028 and the like.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = _READER.value(line)
        except JsonError as error:
            yield DataProblem(f"broken JSON: {error} (column {error.column})", number)
        else:
            yield _row(number, value)


def _json(text: str) -> Iterator[Row | DataProblem]:
    """Read an array of objects; a file of one object per line is read as JSON Lines."""
    at = _skip(text, 0)
    if not text.startswith("[", at):
        yield from _json_lines(text)
        return
    line, counted = 1, 0
    at = _skip(text, at + 1)
    while not text.startswith("]", at):
        line += text.count("\n", counted, at)
        counted = at
        try:
            value, at = _READER.value_at(text, at)
        except JsonError as error:
            yield DataProblem(f"broken JSON: {error} (column {error.column})", error.line)
            return
        yield _row(line, value)
        at = _skip(text, at)
        if text.startswith(",", at):
            at = _skip(text, at + 1)
        elif not text.startswith("]", at):
            line_number = 1 + text.count("\n", 0, at)
            yield DataProblem("broken JSON: expected ',' or ']' after this row", line_number)
            return
    end = _skip(text, at + 1)
    if end < len(text):
        yield DataProblem("text after the end of the array", 1 + text.count("\n", 0, end))


def _separated(delimiter: str) -> Callable[[str], Iterator[Row | DataProblem]]:
    def read(text: str) -> Iterator[Row | DataProblem]:
        # As csv asks for it: a line ends where csv says so, not also at U+2028 or a form feed.
        reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter, strict=True)
        header: list[str] | None = None
        while True:
            line = reader.line_num + 1
            try:
                cells = next(reader, None)
            except csv.Error as error:
                yield DataProblem(f"broken row: {error}", line)
                return
            if cells is None:
                return
            if not any(cell.strip() for cell in cells):
                continue
            if header is None:
                header = [cell.strip() for cell in cells]
                twice = sorted(name for name, count in Counter(header).items() if count > 1)
                if twice or "" in header:
                    problem = "a column without a name" if "" in header else f"{twice[0]!r} twice"
                    yield DataProblem(f"the header has {problem}", line)
                    return
            elif len(cells) != len(header):
                yield DataProblem(
                    f"{len(cells)} fields where the header has {len(header)}",
                    line,
                    suggestion="quote a field that holds the separator",
                )
            else:
                yield Row(line, dict(zip(header, cells, strict=True)))

    return read


_READERS: dict[str, Callable[[str], Iterator[Row | DataProblem]]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".csv": _separated(","),
    ".tsv": _separated("\t"),
}


def _row(line: int, value: JsonValue) -> Row | DataProblem:
    if isinstance(value, dict):
        return Row(line, value)
    kind = {list: "an array", str: "text", type(None): "null"}.get(type(value), "a number")
    return DataProblem(f"the row is {kind}, not an object", line, suggestion='{"column": "value"}')


_READER = JsonReader(strict=True)


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at
