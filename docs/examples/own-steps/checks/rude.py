"""What the check beside it imports: it is part of the check's key, and travels with it."""

from __future__ import annotations

import re
from collections.abc import Iterable


def rude_words(text: str, words: Iterable[str]) -> list[str]:
    """Return those of ``words`` that ``text`` holds."""
    return [word for word in words if re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE)]
