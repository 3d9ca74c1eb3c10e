"""``did you mean``: suggests the nearest known word for a mistyped one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice

_LONGEST = 64
"""Longest word that is compared, in characters."""
_MOST = 1000
"""Words that are compared, at most: a row may have any number of columns."""
_LISTED = 40
"""Words that are listed, at most."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``did you mean 'x'?``, or the list of all known words if none is near."""
    options = sorted(option for option in islice(known, _MOST) if len(option) <= _LONGEST)
    folded = {option.casefold(): option for option in options}
    near = get_close_matches(word[:_LONGEST].casefold(), folded, n=1, cutoff=0.6)
    if near:
        return f"did you mean '{folded[near[0]]}'?"
    more = ", ..." if len(options) > _LISTED else ""
    return f"known: {', '.join(options[:_LISTED])}{more}" if options else ""
