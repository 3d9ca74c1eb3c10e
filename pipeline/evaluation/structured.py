"""Are answers of the form that a program expects? JSON with certain keys, or text of a pattern."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence


def is_json(text: str, keys: Sequence[str] = ()) -> bool:
    """Return whether ``text`` is one JSON value, white space at the ends aside; with ``keys``, an
    object that has all of them. ``NaN`` and ``Infinity``, which JSON has not, are refused."""
    try:
        value = json.loads(text, parse_constant=_refused)
    except ValueError:
        return False
    return not keys or (isinstance(value, dict) and all(key in value for key in keys))


def matches(text: str, pattern: str) -> bool:
    """Return whether all of ``text``, white space at the ends aside, matches the regular
    expression."""
    return re.fullmatch(pattern, text.strip()) is not None


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
