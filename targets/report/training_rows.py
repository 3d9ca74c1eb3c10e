"""Speed and memory of training passes, for reports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from targets.report.report_schema import Report

_CURVES = ("train_loss_curve", "loss_curve")
"""Metrics that only training passes have."""


@dataclass(frozen=True)
class TrainingRow:
    """Speed and memory of one training pass. Values that its metrics lack are ``None``."""

    step: str
    tokens_per_second: float
    """All tokens of the rows, without padding."""
    learnt_tokens_per_second: float | None
    """Tokens that carry loss."""
    padding: float | None
    """Share of padding in all computed tokens."""
    peak_rss_bytes: int
    peak_device_bytes: float | None
    """Peak memory on a GPU."""


def trainings(report: Report) -> Iterator[TrainingRow]:
    """Yield the training passes of ``report``, in their order."""
    for step in report.passes:
        speed = _number(step.metrics, "tokens_per_second")
        if speed is not None and any(name in step.metrics for name in _CURVES):
            yield TrainingRow(
                step=step.name,
                tokens_per_second=speed,
                learnt_tokens_per_second=_number(step.metrics, "learnt_tokens_per_second"),
                padding=_number(step.metrics, "padding"),
                peak_rss_bytes=step.peak_rss_bytes,
                peak_device_bytes=_number(step.metrics, "peak_device_bytes"),
            )


def _number(metrics: Mapping[str, JsonValue], name: str) -> float | None:
    value = metrics.get(name)
    return value if isinstance(value, (int, float)) else None
