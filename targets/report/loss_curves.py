"""The loss curves of training passes, as their metrics have them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from targets.report.report_schema import Report

Points = tuple[tuple[float, float], ...]
"""Optimizer steps, and the loss at each in nats per token."""

_TRAIN = ("train_loss_curve", "loss_curve")
_VALIDATION = ("validation_loss_curve",)


@dataclass(frozen=True)
class LossCurves:
    """The curves of one training pass; at least one of them has points."""

    step: str
    key: str
    train: Points
    validation: Points


def loss_curves(report: Report) -> Iterator[LossCurves]:
    """Yield the curves of each pass of ``report`` that trained something."""
    for step in report.passes:
        train, validation = (_curve(step.metrics, names) for names in (_TRAIN, _VALIDATION))
        if train or validation:
            yield LossCurves(step.name, step.key, train, validation)


def _curve(metrics: Mapping[str, JsonValue], names: Sequence[str]) -> Points:
    points = next((metrics[name] for name in names if name in metrics), None)
    return tuple(_points(points)) if isinstance(points, list) else ()


def _points(points: Iterable[JsonValue]) -> Iterator[tuple[float, float]]:
    for point in points:
        if isinstance(point, list) and len(point) == 2:
            step, loss = point
            if isinstance(step, (int, float)) and isinstance(loss, (int, float)):
                yield float(step), float(loss)
