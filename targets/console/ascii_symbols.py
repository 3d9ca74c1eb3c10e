"""Symbols for terminals and files that show ASCII only."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import IO, Any

_SYMBOLS: Mapping[str, str] = {
    "✓": "+",
    "✗": "x",
    "·": "-",
    "→": "->",
    "≤": "<=",
    "≥": ">=",
    "–": "-",
    "…": "...",
    "─": "-",
    "━": "=",
    "\u00d7": "x",
    "±": "+/-",
    "←": "<-",
    "\u2019": "'",
    "\u201c": '"',
    "\u201d": '"',
}
"""What Quern itself writes; text of others is escaped where it cannot be shown."""

_TABLE = str.maketrans(dict(_SYMBOLS))


def in_ascii(text: str) -> str:
    """Return ``text`` with Quern's symbols in ASCII."""
    return text.translate(_TABLE)


def is_dumb(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether the terminal says that it only shows lines."""
    return environment.get("TERM", "").lower() in ("dumb", "unknown")


def takes_ascii_only(stream: IO[Any]) -> bool:
    """Return whether ``stream`` should get nothing but ASCII: a terminal that only shows lines, or
    anything that is not in UTF-8."""
    encoding = (getattr(stream, "encoding", None) or "utf-8").lower()
    return not encoding.startswith("utf") or (is_dumb() and stream.isatty())
