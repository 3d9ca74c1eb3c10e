"""Reads the rows of data files: JSON Lines, JSON, CSV or TSV, each with its line number."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import JsonValue

from pipeline.data.problems import DataProblem, ProblemList
from pipeline.data.separated import (
    BrokenRecord,
    Dialect,
    Record,
    csv_dialect,
    records,
    swallowing,
    tsv_dialect,
)
from pipeline.reading.files import MB, UnreadableError, read_text
from pipeline.reading.json_text import JsonError, JsonReader

_POINTER = "version https://git-lfs.github.com/spec/"
_MARK = "\ufeff"
_JOINED = "a byte order mark stands within the file, as where files were joined"
_TAKE_OUT = "join files without their marks and headers, or list them in path"
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


@dataclass(frozen=True)
class Note:
    """What one should know of how a file was read, or of the row in one of its lines."""

    message: str
    line: int | None = None
    file: int = 0


@dataclass(frozen=True)
class Reading:
    """The rows of files, a problem for every row that cannot be read, and notes."""

    rows: list[Row] = field(default_factory=list)
    problems: list[DataProblem] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)


Reader = Callable[[str], Iterator[Row | DataProblem | Note]]


def read_files(paths: Sequence[Path]) -> Reading:
    """Read the rows of all files, one after the other (see :func:`read_file`)."""
    read = Reading()
    for number, path in enumerate(paths):
        one = read_file(path)
        read.rows.extend((replace(row, file=number) for row in one.rows) if number else one.rows)
        read.problems.extend(replace(problem, file=number) for problem in one.problems)
        read.notes.extend(replace(note, file=number) for note in one.notes)
    return read


def read_rows(path: Path) -> tuple[list[Row], list[DataProblem]]:
    """Return all rows of ``path``, and its problems (see :func:`read_file`)."""
    read = read_file(path)
    return read.rows, read.problems


def read_file(path: Path) -> Reading:
    """Read all rows of ``path``.

    The suffix determines the format. The text is UTF-8, with or without a byte order mark; blank
    lines are skipped, but count as lines.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        unknown = f"unknown kind of data file {path.suffix!r}"
        known = f"one of {', '.join(_READERS)}, unpacked"
        return Reading(problems=[DataProblem(unknown, suggestion=known)])
    try:
        text = read_text(path, _LARGEST)
    except OSError as error:
        return Reading(problems=[DataProblem(f"cannot be read: {error.strerror or error}")])
    except UnreadableError as error:
        advice = "save it as UTF-8 text" if error.line or "UTF-16" in str(error) else ""
        return Reading(problems=[DataProblem(str(error), error.line, suggestion=advice)])
    if text.startswith(_POINTER):
        advice = "fetch the file itself: git lfs pull"
        return Reading(problems=[DataProblem("is a pointer of Git LFS", suggestion=advice)])
    rows: list[Row] = []
    notes: list[Note] = []
    problems = ProblemList()
    for item in reader(text):
        match item:
            case Row():
                rows.append(item)
            case Note():
                notes.append(item)
            case DataProblem():
                problems.add(_BROKEN, item)
    return Reading(rows, problems.all(), notes)


def texts_in(value: JsonValue) -> Iterator[str]:
    """Yield all texts of ``value``, the names of its keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from texts_in(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from texts_in(item)


def is_blank(text: str) -> bool:
    """Return whether nobody would see anything of ``text``: white space, and characters without
    width such as U+200B."""
    return all(sign.isspace() or unicodedata.category(sign) == "Cf" for sign in text)


def text_of(value: JsonValue) -> str:
    """Return a column's value as text for templates: numbers and booleans as in JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def no_text(text: str) -> str:
    """Return what of ``text`` no model is given, in words; empty if there is nothing of the kind.

    That is half of a character outside the basic plane (a surrogate, which UTF-8 cannot encode),
    and the character NUL, at which the runtime takes a text to end.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"\\u{ord(text[error.start]):04x}, half of a character"
    return r"\u0000, which ends a text in the runtime" if "\0" in text else ""


def _json_lines(text: str) -> Iterator[Row | DataProblem]:
    # Only \n ends a line: str.splitlines would cut inside strings at U+2028 and the like.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        if line.startswith(_MARK):
            yield DataProblem(_JOINED, number, suggestion=_TAKE_OUT)
            continue
        try:
            value = _READER.value(line)
        except JsonError as error:
            problem = f"broken JSON: {error} (column {error.column})"
            advice = "a row is an object on one line"
            if number == 1 and line.lstrip().startswith("["):
                advice = "a file with an array of rows is named .json"
            yield DataProblem(problem, number, suggestion=advice)
        else:
            yield _row(number, value, escapes="\\u" in line)


def _json(text: str) -> Iterator[Row | DataProblem]:
    """Read an array of objects; a file of one object per line is read as JSON Lines."""
    at = _skip(text, 0)
    if not text.startswith("[", at):
        yield from _json_lines(text)
        return
    line, counted, escapes = 1, 0, "\\u" in text
    at = _skip(text, at + 1)
    while not text.startswith("]", at):
        line += text.count("\n", counted, at)
        counted = at
        try:
            value, at = _READER.value_at(text, at)
        except JsonError as error:
            yield DataProblem(f"broken JSON: {error} (column {error.column})", error.line)
            return
        yield _row(line, value, escapes)
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


def _separated(find_dialect: Callable[[str], Dialect]) -> Reader:
    def read(text: str) -> Iterator[Row | DataProblem | Note]:
        dialect = find_dialect(text)
        yield Note(f"read with {dialect}")
        header: list[str] | None = None
        several = False
        try:
            for record in records(text, dialect):
                if header is not None:
                    yield _record(record, header)
                    several = several or any("\n" in cell for cell in record.cells)
                    continue
                header = [cell.strip() for cell in record.cells]
                twice = sorted(name for name, count in Counter(header).items() if count > 1)
                if twice or "" in header:
                    problem = "a column without a name" if "" in header else f"{twice[0]!r} twice"
                    advice = "name each column, or take it out (of pandas: to_csv(index=False))"
                    if len(header) < 3 and header[0].lower().startswith("sep="):
                        advice = "take out this line, which only Excel reads"
                    yield DataProblem(f"the header has {problem}", record.line, suggestion=advice)
                    return
        except BrokenRecord as error:
            yield DataProblem(f"broken row: {error}", error.line)
            return
        if several and header is not None:
            for record in swallowing(text, dialect, len(header)):
                yield Note(
                    "a cell looks like several rows: is a quotation mark part of it?", record.line
                )

    return read


def _record(record: Record, header: Sequence[str]) -> Row | DataProblem:
    if record.cells[0].startswith(_MARK):
        return DataProblem(_JOINED, record.line, suggestion=_TAKE_OUT)
    if len(header) > 1 and [cell.strip() for cell in record.cells] == header:
        return DataProblem("the header stands here again", record.line, suggestion=_TAKE_OUT)
    for name, cell in zip(header, record.cells, strict=False):
        if found := no_text(cell):
            problem = f"the column {name!r} holds {found}"
            return DataProblem(problem, record.line, suggestion="is the file UTF-16, or damaged?")
    if len(record.cells) != len(header):
        return DataProblem(
            f"{len(record.cells)} fields where the header has {len(header)}",
            record.line,
            suggestion="quote a field that holds the separator",
        )
    return Row(record.line, dict(zip(header, record.cells, strict=True)))


_READERS: dict[str, Reader] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".csv": _separated(csv_dialect),
    ".tsv": _separated(tsv_dialect),
}


def _row(line: int, value: JsonValue, escapes: bool) -> Row | DataProblem:
    """Return a row. Only where JSON ``escapes`` characters can they be no text."""
    if isinstance(value, dict):
        for name, column in value.items() if escapes else ():
            if found := next(filter(None, map(no_text, texts_in([name, column]))), ""):
                problem = f"the column {name!r} holds {found}"
                return DataProblem(problem, line, suggestion="remove it: no model is given it")
        return Row(line, value)
    kind = {list: "an array", str: "text", type(None): "null"}.get(type(value), "a number")
    return DataProblem(f"the row is {kind}, not an object", line, suggestion='{"column": "value"}')


_READER = JsonReader(strict=True, takes_halves=True)
"""Halves of characters are found column by column."""


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at
