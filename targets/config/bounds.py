"""What a config may hold. Hundreds of passes are a mistake, and would be read for minutes.

The bounds are far above what anybody writes, and low enough for all that walks over a config:
recursive functions, comparisons of every key with every other, messages.
"""

from __future__ import annotations

import math
import re
from typing import Any

from pipeline.reading.files import MB
from targets.config.source_map import KeyPath

LARGEST = MB // 2
"""Largest config file, in bytes."""
_DEEPEST = 40
"""Tables and lists within each other."""
_MOST_VALUES = 20_000
"""Keys and elements of a file."""
_MOST_TABLES = 200
"""Tables in one table, such as ``[passes.NAME]`` in ``[passes]``."""
_SURROGATE = re.compile("[\ud800-\udfff]")
_LARGEST_INTEGER = 1 << 63
"""TOML's own bound."""


def beyond(document: Any) -> tuple[KeyPath, str] | None:
    """Return the first key of a parsed file that is beyond a bound, and which one; else ``None``.

    It goes through a file without recursion, so that the file may be anything.
    """
    values = 0
    waiting: list[tuple[KeyPath, Any]] = [((), document)]
    while waiting:
        path, value = waiting.pop()
        values += 1
        if values > _MOST_VALUES:
            return path[:1], f"the file has more than {_MOST_VALUES:,} keys and elements"
        problem = _problem(path, value)
        if problem:
            return path[:_DEEPEST], problem
        if isinstance(value, dict):
            problem = next((text for key in value if (text := _problem((), key))), "")
            if problem:
                return path, f"a key of it: {problem}"
            waiting.extend(((*path, key), value[key]) for key in reversed(value))
        elif isinstance(value, list):
            waiting.extend(((*path, at), value[at]) for at in reversed(range(len(value))))
    return None


def _problem(path: KeyPath, value: Any) -> str:
    if len(path) > _DEEPEST:
        return f"nested more than {_DEEPEST} levels deep"
    if isinstance(value, int) and not -_LARGEST_INTEGER <= value < _LARGEST_INTEGER:
        return "an integer that does not fit into 64 bits"
    if isinstance(value, float) and not math.isfinite(value):
        return "not a finite number"
    if isinstance(value, str) and (half := _SURROGATE.search(value)):
        return f"\\u{ord(half[0]):04x} is half a character"
    if (
        isinstance(value, dict)
        and sum(isinstance(one, dict) for one in value.values()) > _MOST_TABLES
    ):
        return f"more than {_MOST_TABLES} tables in one"
    return ""
