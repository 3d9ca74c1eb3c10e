"""What a build comes down to: how right, how large, how fast; in words that need no table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from pydantic import JsonValue

from targets.figures import milliseconds, size
from targets.report.main_figures import latency_of, quality_of
from targets.report.report_schema import Report

_MODELS = ("base", "tuned", "artifact")


def headline(report: Report) -> str:
    """Return ``accuracy 25.0 → 92.2 → 92.0 %, 3.2 MB, first token 1.60 ms``."""
    return ", ".join(_headline(report))


def shares(report: Report) -> str:
    """Return the shares of right answers: ``25.0 → 92.2 → 92.0 %``; empty without any."""
    return _arrows(quality_of(report, name) for name in _shown(report))


def models(report: Report) -> str:
    """Return whose shares these are: ``base, tuned, cpu artifact; 540 held-out samples``."""
    names = {"base": "base", "tuned": "tuned", "artifact": f"{report.target} artifact"}
    listed = ", ".join(names[name] for name in _shown(report))
    return f"{listed}; {report.quality.get('samples')} held-out samples" if listed else ""


def greedy(report: Report) -> str:
    """Return the shares of right answers that the models really wrote: accuracy takes the likeliest
    label where an answer is none. Empty where that is not known."""
    details = report.quality.get("details")
    written = [_greedy(details, name) for name in _shown(report)]
    if report.quality.get("metric") != "accuracy" or None in written:
        return ""
    return (
        f"{_arrows(written)} as written: where an answer is none of the labels, accuracy takes the "
        "likeliest one"
    )


def _headline(report: Report) -> Iterator[str]:
    found = shares(report)
    if found:
        yield f"{str(report.quality.get('metric')).replace('_', ' ')} {found}"
    yield size(report.size_bytes)
    median = next(iter(latency_of(report, "first_token_ms").values()), None)
    if median is not None:
        yield f"first token {milliseconds(median)}"


def _shown(report: Report) -> list[str]:
    """Return the models whose answers were measured."""
    # Without an ONNX model, the tuned one is what was built.
    models = _MODELS if report.artifact == "onnx" else _MODELS[:-1]
    return [name for name in models if quality_of(report, name) is not None]


def _greedy(details: JsonValue, name: str) -> float | None:
    of_model = details.get(name) if isinstance(details, Mapping) else None
    share = of_model.get("greedy") if isinstance(of_model, Mapping) else None
    return float(share) if isinstance(share, (int, float)) else None


def _arrows(found: Iterable[float | None]) -> str:
    numbers = [f"{share * 100:.1f}" for share in found if share is not None]
    return f"{' → '.join(numbers)} %" if numbers else ""
