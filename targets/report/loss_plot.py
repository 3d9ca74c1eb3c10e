"""Draws loss curves as SVG in the style of the page. Every build writes one; only a bench has a
plotting library."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from targets.figures import digits
from targets.report.loss_curves import LossCurves, Points

_WIDTH, _HEIGHT = 380.0, 220.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 40.0, 12.0, 28.0, 40.0
_ENTRY = 100.0
"""Width of an entry of the legend."""
_STEPS = (1, 2, 5)
"""Round numbers, times powers of ten."""
_MOST_TICKS = 6
_SERIES = (("training", "--series-1"), ("validation", "--series-2"))


@dataclass(frozen=True)
class _Axes:
    """From steps and losses to places in the drawing. The losses are on a logarithmic scale."""

    last: float
    low: float
    high: float

    def x(self, step: float) -> float:
        """Return the place of an optimizer step, counted from 0."""
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * step / self.last

    def y(self, loss: float) -> float:
        """Return the place of a loss."""
        share = math.log(loss / self.low) / math.log(self.high / self.low)
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * share


def loss_plot(curves: LossCurves, name: str) -> Markup | None:
    """Return the plot of ``curves`` as an ``svg`` element; ``name`` is unique on its page. ``None``
    if no loss can be drawn: a logarithm needs positive numbers."""
    series = [
        (words, colour, points)
        for (words, colour), found in zip(_SERIES, (curves.train, curves.validation), strict=True)
        if (points := _drawable(found))
    ]
    if not series:
        return None
    losses = [loss for _, _, points in series for _, loss in points]
    last = max(step for _, _, points in series for step, _ in points)
    axes = _Axes(max(last, 1.0), min(losses) / 1.15, max(losses) * 1.15)
    described = "; ".join(
        f"{words} loss from {digits(points[0][1])} to {digits(points[-1][1])}"
        for words, _, points in series
    )
    head = Markup(
        '<svg viewBox="0 0 {:g} {:g}" role="img" aria-labelledby="{n}-title {n}-desc">'
        '<title id="{n}-title">Loss of {}</title><desc id="{n}-desc">{}.</desc>'
    ).format(_WIDTH, _HEIGHT, curves.step, described, n=name)
    return head + Markup("").join([*_grid(axes), *_lines(axes, series)]) + Markup("</svg>")


def _drawable(points: Points) -> list[tuple[float, float]]:
    return [
        (step, loss)
        for step, loss in points
        if step >= 0 and math.isfinite(step) and loss > 0 and math.isfinite(loss)
    ]


def _grid(axes: _Axes) -> Iterator[Markup]:
    for loss in _log_ticks(axes.low, axes.high):
        yield _line(_LEFT, axes.y(loss), _WIDTH - _RIGHT, axes.y(loss), "--grid")
        yield _text(_LEFT - 7, axes.y(loss) + 4, f"{loss:g}", "end")
    for step in _linear_ticks(axes.last):
        yield _text(axes.x(step), _HEIGHT - _BOTTOM + 17, f"{step:,g}", "middle")
    base = _HEIGHT - _BOTTOM
    yield _line(_LEFT, base, _WIDTH - _RIGHT, base, "--quiet")
    yield _text(_WIDTH - _RIGHT, _HEIGHT - 6, "optimizer step", "end", "--quiet")
    yield _text(0, 14, "nats per token (log)", "start", "--quiet")


def _lines(
    axes: _Axes, series: Sequence[tuple[str, str, Sequence[tuple[float, float]]]]
) -> Iterator[Markup]:
    right = _WIDTH - _RIGHT
    for at, (words, colour, points) in enumerate(series):
        dashes = "5 3" if words == "validation" else "none"
        places = " ".join(f"{axes.x(step):.1f},{axes.y(loss):.1f}" for step, loss in points)
        yield Markup(
            '<polyline points="{}" style="fill: none; stroke: var({}); stroke-width: 2; '
            'stroke-dasharray: {}"/>'
        ).format(places, colour, dashes)
        step, loss = points[-1]
        yield Markup('<circle cx="{:.1f}" cy="{:.1f}" r="3.5" style="fill: var({})"/>').format(
            axes.x(step), axes.y(loss), colour
        )
        # The legend stands above the curves, from right to left.
        end = right - _ENTRY * (len(series) - 1 - at)
        yield _text(end, 14, words, "end")
        yield Markup(
            '<line x1="{:g}" y1="10" x2="{:g}" y2="10" style="stroke: var({}); stroke-width: 2; '
            'stroke-dasharray: {}"/>'
        ).format(end - 86, end - 64, colour, dashes)


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> Markup:
    return Markup(
        '<line x1="{:g}" y1="{:.1f}" x2="{:g}" y2="{:.1f}" style="stroke: var({})"/>'
    ).format(x1, y1, x2, y2, colour)


def _text(x: float, y: float, text: str, anchor: str, colour: str = "--ink") -> Markup:
    return Markup(
        '<text x="{:.1f}" y="{:.1f}" text-anchor="{}" '
        'style="font-size: 12px; fill: var({})">{}</text>'
    ).format(x, y, anchor, colour, text)


def _log_ticks(low: float, high: float) -> list[float]:
    """Return round numbers between ``low`` and ``high``, no more than fit; at least both ends."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in (range(1, 10), _STEPS, (1,)):
        ticks = _within((step * 10.0**power for power in powers for step in steps), low, high)
        if len(ticks) <= _MOST_TICKS:
            break
    return (
        ticks[:: -(-len(ticks) // _MOST_TICKS) or 1]
        if len(ticks) > 1
        else [float(digits(low)), float(digits(high))]
    )


def _linear_ticks(last: float) -> list[float]:
    """Return round numbers from 0 to ``last``."""
    power = 10.0 ** math.floor(math.log10(last))
    spaces = (step * power * scale for scale in (0.1, 1.0) for step in _STEPS)
    space = next((one for one in spaces if last / one <= _MOST_TICKS), last)
    return [space * at for at in range(int(last / space) + 1)]


def _within(found: Iterable[float], low: float, high: float) -> list[float]:
    return [one for one in found if low <= one <= high]
