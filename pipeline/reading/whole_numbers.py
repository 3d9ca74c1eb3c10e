"""Reads whole numbers that others wrote."""

from __future__ import annotations

import re

_DIGITS = re.compile(r"[0-9]{1,18}")
"""As many as fit into 64 bits. Python takes digits of other scripts too, and refuses thousands."""


def whole_number(text: str) -> int | None:
    """Return the number that ``text``, decimal digits and nothing else, writes; else ``None``."""
    return int(text) if _DIGITS.fullmatch(text) else None
