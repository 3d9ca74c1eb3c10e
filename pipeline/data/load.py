"""Reads the rows of data files: JSON Lines, JSON, CSV or TSV, each with its line number.

They are checked one after the other and stay on disk (:mod:`pipeline.data.row_store`).
"""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import JsonValue

from pipeline.data.problems import DataProblem, ProblemList
from pipeline.data.row_store import Row, StoredFile, StoredRows
from pipeline.data.separated import (
    BrokenRecord,
    Dialect,
    Record,
    csv_dialect,
    records,
    swallowing,
    tsv_dialect,
)
from pipeline.reading.files import MB, UnreadableError, read_lines, read_text
from pipeline.reading.json_text import JsonError, JsonReader

_POINTER = "version https://git-lfs.github.com/spec/"
_MARK = "\ufeff"
_JOINED = "a byte order mark stands within the file, as where files were joined"
_TAKE_OUT = "join files without their marks and headers, or list them in path"
_BROKEN = "rows that cannot be read"
_LARGEST = 2048 * MB
"""Largest line of JSON Lines and largest file of another format, in bytes: it is held at once."""
_HOPELESS = 1000
"""Rows that cannot be read with none before them that can: the file is something else."""


@dataclass(frozen=True)
class Note:
    """What one should know of how a file was read, or of the row in one of its lines."""

    message: str
    line: int | None = None
    file: int = 0


@dataclass(frozen=True)
class Reading:
    """The rows of files, a problem for every row that cannot be read, and notes."""

    rows: Sequence[Row] = ()
    problems: list[DataProblem] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)


Reader = Callable[[str], Iterator[Row | DataProblem | Note]]
See = Callable[[Row], None]
"""Is given each row when it is read."""


def read_files(paths: Sequence[Path], see: See | None = None) -> Reading:
    """Read the rows of all files, one after the other (see :func:`read_file`)."""
    files: list[StoredFile] = []
    problems: list[DataProblem] = []
    notes: list[Note] = []
    for number, path in enumerate(paths):
        stored, found, noted = _read(path, number, see)
        files.append(stored)
        problems += (replace(problem, file=number) for problem in found)
        notes += (replace(note, file=number) for note in noted)
    return Reading(StoredRows(files), problems, notes)


def read_rows(path: Path) -> tuple[list[Row], list[DataProblem]]:
    """Return all rows of ``path``, and its problems (see :func:`read_file`)."""
    read = read_file(path)
    return list(read.rows), read.problems


def read_file(path: Path) -> Reading:
    """Read all rows of ``path``.

    The suffix determines the format. The text is UTF-8, with or without a byte order mark; blank
    lines are skipped, but count as lines. A file of which nothing can be read is not read to its
    end.
    """
    return read_files([path])


def _read(
    path: Path, number: int, see: See | None
) -> tuple[StoredFile, list[DataProblem], list[Note]]:
    """Read one file, with ``number``; ``see`` is given each row."""
    suffix = path.suffix.lower()
    if suffix not in (*IN_LINES, *_READERS):
        unknown = f"unknown kind of data file {path.suffix!r}"
        known = f"one of {', '.join((*IN_LINES, *_READERS))}, unpacked"
        return StoredFile(), [DataProblem(unknown, suggestion=known)], []
    in_lines = suffix in IN_LINES
    stored = StoredFile(path if in_lines else None)
    notes: list[Note] = []
    problems = ProblemList()
    broken = 0
    try:
        for begin, item in _items_of_lines(path) if in_lines else _items_of_text(path, suffix):
            match item:
                case Row():
                    if in_lines:
                        stored.note(item.line, begin)
                    else:
                        stored.keep(item.line, item.values)
                    if see is not None:
                        see(replace(item, file=number) if number else item)
                case Note():
                    notes.append(item)
                case DataProblem():
                    problems.add(_BROKEN, item)
                    broken += 1
                    if broken == _HOPELESS and not stored.lines:
                        rest = "no row before can be read: nothing after this line is looked at"
                        problems.add("", DataProblem(rest, item.line))
                        break
    except OSError as error:
        unread = DataProblem(f"cannot be read: {error.strerror or error}")
        return StoredFile(), [unread], []
    except UnreadableError as error:
        advice = "save it as UTF-8 text" if error.line or "UTF-16" in str(error) else ""
        return StoredFile(), [DataProblem(str(error), error.line, suggestion=advice)], []
    except _PointerError:
        advice = "fetch the file itself: git lfs pull"
        return StoredFile(), [DataProblem("is a pointer of Git LFS", suggestion=advice)], []
    return stored, problems.all(), notes


def part_of_lines(path: Path, begin: int, end: int, see: See) -> tuple[StoredFile, int] | None:
    """Read the lines of JSON Lines from the byte ``begin`` to ``end``; return the rows, which count
    lines from there, and the number of lines. Return ``None`` where any cannot be read."""
    stored, line = StoredFile(path), 0
    try:
        for line, (at, text) in enumerate(read_lines(path, _LARGEST, begin, end), start=1):
            item = _of_line(line, text)
            if isinstance(item, Row):
                stored.note(line, at)
                see(item)
            elif item is not None:
                return None
    except (OSError, UnreadableError):
        return None
    return stored, line


class _PointerError(Exception):
    """The file is a pointer of Git LFS."""


def _items_of_lines(path: Path) -> Iterator[tuple[int, Row | DataProblem]]:
    """Yield what each line of JSON Lines is, with the byte at which it begins."""
    for number, (begin, line) in enumerate(read_lines(path, _LARGEST), start=1):
        if number == 1:
            _require_no_pointer(line)
        item = _of_line(number, line)
        if item is not None:
            yield begin, item


def _items_of_text(path: Path, suffix: str) -> Iterator[tuple[int, Row | DataProblem | Note]]:
    text = read_text(path, _LARGEST)
    _require_no_pointer(text)
    for item in _READERS[suffix](text):
        yield 0, item


def _require_no_pointer(text: str) -> None:
    if text.startswith(_POINTER):
        raise _PointerError


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
    if "!" <= text[:1] <= "~":
        return False
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
        item = _of_line(number, line)
        if item is not None:
            yield item


def _of_line(number: int, line: str) -> Row | DataProblem | None:
    """Return the row of a line of JSON Lines, or what is wrong with it; ``None`` for a blank."""
    if line.startswith(_MARK):
        return DataProblem(_JOINED, number, suggestion=_TAKE_OUT)
    try:
        value = _READER.value(line)
    except JsonError as error:
        if not line.strip():
            return None
        problem = f"broken JSON: {error} (column {error.column})"
        advice = "a row is an object on one line"
        if number == 1 and line.lstrip().startswith("["):
            advice = "a file with an array of rows is named .json"
        return DataProblem(problem, number, suggestion=advice)
    return _row(number, value, escapes="\\u" in line)


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


IN_LINES = (".jsonl", ".ndjson")
"""Suffixes of JSON Lines."""
_READERS: dict[str, Reader] = {
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
