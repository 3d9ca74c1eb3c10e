"""Detects answers that repeat themselves, are empty, or are not valid text."""

from __future__ import annotations

from collections.abc import Sequence

MAX_REPETITION = 0.5
"""Largest :func:`repetition` of a normal answer."""

_NGRAM = 4
_MIN_NGRAMS = 12
_UNKNOWN_CHARACTER = "\ufffd"


def repetition(ids: Sequence[int]) -> float:
    """Return the share of runs of four tokens that occurred before (seq-rep-4).

    Zero for answers with fewer than 12 such runs, because short answers repeat by chance.
    """
    runs = [tuple(ids[start : start + _NGRAM]) for start in range(len(ids) - _NGRAM + 1)]
    return 1 - len(set(runs)) / len(runs) if len(runs) >= _MIN_NGRAMS else 0.0


def is_broken(text: str, expected: str, ended: bool) -> bool:
    """Return whether an answer is empty or contains bytes that are not a character.

    Such bytes are allowed if ``expected`` contains them too, and at the end of an answer that was
    cut off (not ``ended``), which may stop within a character.
    """
    if not text.strip():
        return True
    complete = text if ended else text.rstrip(_UNKNOWN_CHARACTER)
    return _UNKNOWN_CHARACTER not in expected and (
        _UNKNOWN_CHARACTER in complete or not complete.strip()
    )
