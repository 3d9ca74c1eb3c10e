"""How values and counts are written in a difference."""

from __future__ import annotations

import json
import math

_LONGEST = 60
_AROUND = 20


def sides(released: object, rebuilt: object) -> str:
    """Return both values as JSON, long texts cut down to where they part."""
    first, second = _written(released), _written(rebuilt)
    quote = isinstance(released, str) and isinstance(rebuilt, str)
    if max(len(first), len(second)) <= _LONGEST:
        return f"{first} released, {second} rebuilt"
    at = next(
        (at for at, (x, y) in enumerate(zip(first, second, strict=False)) if x != y),
        min(len(first), len(second)),
    )
    return (
        f"{_around(first, at)} released, {_around(second, at)} rebuilt "
        f"(they part after {counted(at - quote, 'character')})"
    )


def short(value: object) -> str:
    """Return a value as JSON, cut where it is long."""
    text = _written(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def counted(count: int, noun: str) -> str:
    """Return ``1 value`` or ``1,204 values``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def of_all(differing: int, total: int, noun: str) -> str:
    """Return ``3 of 64 values differ``."""
    return f"{differing:,} of {counted(total, noun)} {'differs' if differing == 1 else 'differ'}"


def both_values(released: float, rebuilt: float) -> str:
    """Return both numbers, with as many digits as it takes to tell them apart."""
    texts = (f"{released:.6g}", f"{rebuilt:.6g}")
    if texts[0] == texts[1]:
        texts = (repr(released), repr(rebuilt))
    return f"{texts[0]} released, {texts[1]} rebuilt"


def relative(released: float, rebuilt: float) -> float | None:
    """Return ``|a - b| / max(|a|, |b|)``; None where one of them is no finite number."""
    try:
        first, second = float(released), float(rebuilt)
    except OverflowError:
        return None
    if not (math.isfinite(first) and math.isfinite(second)):
        return None
    largest = max(abs(first), abs(second))
    return abs(first / largest - second / largest) if largest else 0.0


def share(value: float) -> str:
    """Return a relative difference with three digits: ``0.0412 %``."""
    return f"{100 * value:.3g} %"


def _written(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _around(text: str, at: int) -> str:
    start, end = max(0, at - _AROUND), at + _AROUND
    return ("…" if start else "") + text[start:end] + ("…" if end < len(text) else "")
