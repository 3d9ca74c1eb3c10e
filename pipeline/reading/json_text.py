"""Reads JSON within bounds: how deep it may be nested, and how large a number may be.

Python's decoder would exhaust its stack on the one, refuse the other in words about itself, and
take ``1e999`` for infinity. Text that is half a character, which JSON can escape, is refused as
well: no file and no tokenizer takes it.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from pipeline.reading.files import MB, UnreadableError, read_text

DEEPEST = 100
"""Levels of arrays and objects within each other. The settings of models have fewer than ten."""
_MOST_DIGITS = 300
"""Longest integer. A longer one is larger than any float, and Python would not print it."""
_LARGEST = 256 * MB
"""Largest file, in bytes. The tokenizers of large vocabularies have 35 million."""

_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[\]{}]', re.DOTALL)
_BRACKETS = re.compile(r"[^\[\]{}]+")
_EMPTY = re.compile(r"\[\]|\{\}")
_LONG_NUMBER = re.compile(rf"\d{{{_MOST_DIGITS + 1}}}|\d[eE]\+?\d{{3}}")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class JsonError(UnreadableError):
    """The text is not JSON that can be used. Line and column count from 1."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(message, line)
        self.line = line
        self.column = column


class DuplicateKeyError(JsonError):
    """A key stands twice in one object, of which line and column are given."""


class JsonReader:
    """A decoder with these bounds. A ``strict`` one also refuses a key that stands twice, and the
    words ``NaN`` and ``Infinity``, which Python writes and JSON does not have. One that
    ``takes_halves`` leaves halves of characters to its caller."""

    def __init__(self, strict: bool, takes_halves: bool = False) -> None:
        self._takes_halves = takes_halves
        self._decoder = json.JSONDecoder(
            parse_int=_integer,
            parse_float=_number,
            parse_constant=_constant if strict else None,
            object_pairs_hook=_unique if strict else None,
        )

    def value(self, text: str) -> Any:
        """Return the value of ``text``. Raises :class:`JsonError` with line and column."""
        blank = len(text) - len(text.lstrip(" \t\r\n"))
        value, end = self.value_at(text, blank)
        if end < len(text) and (rest := text[end:].lstrip(" \t\r\n")):
            raise _error("Extra data", text, len(text) - len(rest))
        return value

    def value_at(self, text: str, at: int) -> tuple[Any, int]:
        """Return the value that begins at ``at``, and where it ends. Raises :class:`JsonError`."""
        try:
            value, end = self._decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise _error(error.msg, text, error.pos) from None
        except RecursionError:
            raise _error(_TOO_DEEP, text, _too_deep_at(text, at)) from None
        except _TwiceError as error:
            raise _error(str(error), text, at, DuplicateKeyError) from None
        except _ValueError as error:
            raise _error(str(error), text, error.place(text, at)) from None
        _require_shallow(text, at, end)
        if not self._takes_halves:
            _require_whole_characters(value, text, at, end)
        return value, end


def parse_json(text: str, strict: bool = False) -> Any:
    """Return the value of ``text`` (see :class:`JsonReader`). Raises :class:`JsonError`."""
    return (_STRICT if strict else _LENIENT).value(text)


def read_json(file: Path, most: int = _LARGEST, strict: bool = False) -> Any:
    """Return the value in ``file``.

    Raises :class:`UnreadableError` for what is not JSON of at most ``most`` bytes, and ``OSError``
    where it cannot be read.
    """
    try:
        return parse_json(read_text(file, most), strict)
    except JsonError as error:
        place = f"line {error.line}, column {error.column}"
        raise UnreadableError(f"is not JSON: {error} ({place})", error.line) from None


_TOO_DEEP = f"it is nested too deeply: more than {DEEPEST} levels"


class _TwiceError(ValueError):
    """A key stands twice."""


class _ValueError(ValueError):
    """A value that is refused, and what it looks like in the text."""

    def __init__(self, message: str, looks: re.Pattern[str]) -> None:
        super().__init__(message)
        self._looks = looks

    def place(self, text: str, begin: int) -> int:
        """Return where it stands in ``text``, or else ``begin``."""
        found = self._looks.search(text, begin)
        return found.start() if found else begin


def _integer(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise _ValueError(f"a number of {len(digits):,} digits", _LONG_NUMBER)
    return int(digits)


def _number(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise _ValueError("a number that is too large", _LONG_NUMBER)
    return number


def _constant(name: str) -> NoReturn:
    raise _ValueError(f"{name} is not JSON", re.compile(name))


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        name, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise _TwiceError(f"the key {name!r} occurs twice")
    return table


def _require_shallow(text: str, begin: int, end: int) -> None:
    """Raise :class:`JsonError` for what the decoder takes, and those who read the value do not."""
    brackets = text.count("[", begin, end) + text.count("{", begin, end)
    if brackets > DEEPEST and _depth(text[begin:end]) > DEEPEST:
        raise _error(_TOO_DEEP, text, _too_deep_at(text, begin))


def _require_whole_characters(value: Any, text: str, begin: int, end: int) -> None:
    """Raise :class:`JsonError` for text that cannot be encoded."""
    if not _SURROGATE.search(text, begin, end):
        return
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):04x}"
        at = text.lower().find(half, begin, end)
        raise _error(f"{half} is half a character", text, max(at, begin)) from None


def _depth(text: str) -> int:
    """Return how deep JSON is nested; more than :data:`DEEPEST` stands for anything deeper."""
    brackets = _BRACKETS.sub("", _STRINGS.sub("", text))
    for depth in range(DEEPEST + 1):
        if not brackets:
            return depth
        brackets = _EMPTY.sub("", brackets)
    return DEEPEST + 1


def _too_deep_at(text: str, begin: int) -> int:
    """Return the bracket that is too deep, or ``begin`` if there is none."""
    depth = 0
    for match in _TOKENS.finditer(text, begin):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(match[0], 0)
        if depth > DEEPEST:
            return match.start()
    return begin


def _error(message: str, text: str, at: int, kind: type[JsonError] = JsonError) -> JsonError:
    return kind(message, 1 + text.count("\n", 0, at), at - text.rfind("\n", 0, at))


_STRICT, _LENIENT = JsonReader(strict=True), JsonReader(strict=False)
