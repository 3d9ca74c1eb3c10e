"""Checks the form of answers: JSON with certain keys, or text that matches a pattern."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence


def is_json(text: str, keys: Sequence[str] = ()) -> bool:
    """Return whether ``text`` is one JSON value, or with ``keys`` an object that has all of them.

    Outer white space is allowed; ``NaN`` and ``Infinity``, which are not JSON, are not.
    """
    try:
        value = json.loads(text, parse_constant=_refused)
    except ValueError:
        return False
    return not keys or (isinstance(value, dict) and all(key in value for key in keys))


def matches(text: str, pattern: str) -> bool:
    """Return whether all of ``text``, except outer white space, matches the regular expression
    ``pattern``."""
    return re.fullmatch(pattern, text.strip()) is not None


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
