"""The figures of a report that lists, comparisons and headlines show."""

from __future__ import annotations

from collections.abc import Iterator

from targets.report.report_schema import Report


def latency_of(report: Report, figure: str) -> dict[str, float]:
    """Return the median of ``figure`` in milliseconds for each kind of prompt; empty if the
    report has none."""
    return dict(_medians(report, figure))


def _medians(report: Report, figure: str) -> Iterator[tuple[str, float]]:
    statistics = report.latency.get("statistics")
    for prompt, figures in (statistics if isinstance(statistics, dict) else {}).items():
        measured = figures.get(figure) if isinstance(figures, dict) else None
        median = measured.get("p50") if isinstance(measured, dict) else None
        if isinstance(median, (int, float)):
            yield prompt, float(median)


def quality_of(report: Report, who: str) -> float | None:
    """Return the share of right answers of ``who`` (``base``, ``tuned``, ``artifact``)."""
    share = report.quality.get(who)
    return float(share) if isinstance(share, (int, float)) else None
