"""Formats figures for people: sizes, times, shares, limits."""

from __future__ import annotations

from pipeline.contract.result import Verdict

_LEAST_SHARE = 0.0005
_UNITS = ("B", "KB", "MB", "GB", "TB")


def size(count: float) -> str:
    """Return ``4.2 MB`` for bytes (powers of 1,000)."""
    value = float(count)
    for unit in _UNITS:
        if value < 1000 or unit == _UNITS[-1]:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError("unreachable")


def duration(seconds: float) -> str:
    """Return ``0.42 s``, ``12.3 s`` or ``3 min 05 s``."""
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, remainder = divmod(round(seconds), 60)
    return f"{minutes} min {remainder:02d} s"


def age(seconds: float) -> str:
    """Return ``3 days``, ``1 hour`` or ``5 minutes``, rounded down."""
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        count = int(seconds // length)
        if count:
            return f"{count} {unit}" if count == 1 else f"{count} {unit}s"
    return "less than a minute"


def percent(share: float | None) -> str:
    """Return ``93.4 %`` for 0.934, ``< 0.1 %`` for a smaller share, an en dash for ``None``."""
    if share is None:
        return "–"
    return "< 0.1 %" if 0 < share < _LEAST_SHARE else f"{share * 100:.1f} %"


def milliseconds(value: float | None) -> str:
    """Return ``0.210 ms``, ``12.3 ms`` or ``1.42 s``: three digits; an en dash for ``None``."""
    if value is None:
        return "–"
    return f"{digits(value / 1000)} s" if _rounded(value) >= 1000 else f"{digits(value)} ms"


def digits(value: float) -> str:
    """Return ``value`` with three significant digits, or as the nearest whole number: ``0.210``,
    ``12.3``, ``2,110``."""
    return f"{value:,.0f}" if abs(_rounded(value)) >= 1000 else f"{value:#.3g}".rstrip(".")


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


def rate(value: float) -> str:
    """Return ``9,870/s`` or ``5.41/s``."""
    return f"{value:,.0f}/s" if value >= 100 else f"{value:.3g}/s"


def middle(value: float, low: float | None, high: float | None) -> str:
    """Return ``0.210 ms [0.201, 0.219]`` for milliseconds; no brackets without an interval."""
    text = milliseconds(value)
    if low is None or high is None:
        return text
    scale = 1000 if _rounded(value) >= 1000 else 1
    return f"{text} [{digits(low / scale)}, {digits(high / scale)}]"


def prompt_words(prompt: str) -> str:
    """Return a kind of prompt in words: ``512 tokens`` for ``512``, ``short prompts``."""
    return f"{prompt} tokens" if prompt.isdigit() else f"{prompt} prompts"


def verdict_value(verdict: Verdict) -> str:
    """Return the measured figure with its unit."""
    return _with_unit(verdict.value, verdict.unit)


def verdict_limit(verdict: Verdict) -> str:
    """Return the limit with its relation and unit, e.g. ``<= 20 ms``."""
    if verdict.limit is None:
        return "–"
    relation = {"<=": "≤", ">=": "≥", "==": "="}.get(verdict.relation or "", "")
    return f"{relation} {_with_unit(verdict.limit, verdict.unit)}".strip()


def verdict_words(verdict: Verdict) -> str:
    """Return the source of the limit, if that is not the config, and the detail of the verdict."""
    return "; ".join(filter(None, (verdict.limit_source, verdict.detail)))


def _with_unit(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    if unit == "share":
        return percent(value)
    if unit == "bytes":
        return size(value)
    text = f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.4g}"
    return f"{text} {unit}".strip()
