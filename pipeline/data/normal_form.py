"""The forms of texts by which they are compared."""

from __future__ import annotations

import re
import unicodedata

_UNSEEN = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
"""Soft hyphens, characters without width, and marks of direction."""


def as_seen(text: str) -> str:
    """Return ``text`` after NFC and white-space folding, and without characters that nobody sees:
    the same for all texts that look the same."""
    seen = text if text.isascii() else unicodedata.normalize("NFC", _UNSEEN.sub("", text))
    return " ".join(seen.split())


def normalized(text: str) -> str:
    """Return ``text`` after NFKC, case folding and white-space folding, and without characters that
    nobody sees, by which texts are compared."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", _UNSEEN.sub("", text))
    elif text.isprintable() and "  " not in text and " " not in (text[:1], text[-1:]):
        return text.casefold()  # as most rows are: its words have one blank between them already
    return " ".join(text.casefold().split())
