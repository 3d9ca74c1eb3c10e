"""``did you mean``: suggests the nearest known word for a mistyped one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice

_LONGEST = 64
"""Longest word that is compared, in characters."""
_MOST = 1000
"""Words that are compared, at most: a row may have any number of columns."""
_LISTED = 12
"""Words that are listed, at most. Of more, only the nearest are named."""
_NEAREST = 4


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``did you mean 'x'?``; or if none is near, all known words, or the nearest of many."""
    options = sorted(option for option in islice(known, _MOST) if len(option) <= _LONGEST)
    folded = {option.casefold(): option for option in options}
    near = get_close_matches(word[:_LONGEST].casefold(), folded, n=1, cutoff=0.6)
    if near:
        return f"did you mean '{folded[near[0]]}'?"
    if len(options) <= _LISTED:
        return f"known: {', '.join(options)}" if options else ""
    far = get_close_matches(word[:_LONGEST].casefold(), folded, n=_NEAREST, cutoff=0.0)
    return f"{len(options)} are known, the nearest {', '.join(folded[name] for name in far)}"
