"""The plots of a bench, each drawn for the width of a phone; a page sets them side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from pipeline.latency.timing import FIGURES
from pipeline.statistics.percentiles import SHARES, allowed_over, percentile
from targets.bench.bench_schema import (
    Bench,
    Comparison,
    FigureChange,
    Measurement,
    TargetBench,
    TrainingBench,
)
from targets.bench.svg import GRID, INK, PAPER, QUIET, SERIES, to_svg
from targets.figures import milliseconds, percent, size

_WIDTH = 5.2
"""Width in inches of 72 units: a little more than a phone's screen, so that text keeps its size."""
_MARKERS = ("o", "s", "^", "D", "v", "P")
"""Markers that distinguish series in addition to colours."""
_WIDE = 4.0
"""An axis whose values span more than this factor is logarithmic."""
_MOST_TICKS = 5
_STRIP = 60
"""Largest number of dots drawn per series: more are not distinguishable and enlarge the page."""

_STYLE: dict[Any, Any] = {
    "font.size": 10,
    "text.parse_math": False,  # names are text
    "text.color": INK,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.titlesize": 10,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
}


@dataclass(frozen=True)
class Plot:
    """One plot of the page."""

    name: str
    title: str
    caption: str
    svg: str


def plots_of(bench: Bench) -> Mapping[str, Plot]:
    """Return the plots that the bench has data for, by name."""
    plots = [
        pareto(bench),
        *(latency(bench, name) for name in ("first_token_ms", "token_ms")),
        *(loss(item) for item in bench.training),
    ]
    if bench.comparison is not None:
        plots.append(changes(bench.comparison))
    return {plot.name: plot for plot in plots if plot is not None}


def pareto(bench: Bench) -> Plot | None:
    """Draw quality over the time per token, labelled with sizes; the Pareto front is a line. One
    target alone beats nothing and is beaten by nothing.

    A target that was not timed is an open marker at the right edge.
    """
    points = [
        _Point(at, target.target, value, _token_ms(target), target.bytes, _ends(target))
        for at, target in enumerate(bench.targets)
        if (value := _number(target.quality.get("artifact"))) is not None
    ]
    if len(points) < 2:
        return None
    metric = str(bench.targets[0].quality.get("metric"))
    with _figure(3.4) as (figure, axes):
        _draw_points(axes, points)
        _reference_lines(axes, bench)
        axes.set_ylabel(f"held-out {metric.replace('_', ' ')}")
        axes.set_xlabel("time of a token, p50, short prompts (ms): left is faster")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
        title = "Quality, latency, size"
        described = "; ".join(point.said for point in points)
        svg = to_svg(figure, "pareto", title, f"{metric} over token time. {described}.")
    caption = (
        "Upper left is better; the area of a marker is the artifact's size. Bars are 95 % "
        "intervals. The dashed line joins what no other target beats in both."
    )
    if any(point.token_ms is None for point in points):
        caption += " An open marker at the right edge: not timed."
    return Plot("pareto", title, caption, svg)


@dataclass(frozen=True)
class _Point:
    at: int
    target: str
    quality: float
    token_ms: float | None
    bytes: int
    ends: tuple[float, float] | None

    @property
    def label(self) -> str:
        untimed = ", not timed" if self.token_ms is None else ""
        return f"{self.target}, {size(self.bytes)}{untimed}"

    @property
    def said(self) -> str:
        time = "not timed" if self.token_ms is None else milliseconds(self.token_ms)
        return f"{self.target}: {percent(self.quality)}, {time}, {size(self.bytes)}"


def _draw_points(axes: Any, points: Sequence[_Point]) -> None:
    timed = [point.token_ms for point in points if point.token_ms is not None]
    low, high = (min(timed), max(timed)) if timed else (1.0, 1.0)
    if high / low > _WIDE:
        axes.set_xscale("log")
        left, right, edge = low / 1.6, high * 3, high * 2.2
    else:
        span = max(high - low, high * 0.3)
        left, right, edge = max(0.0, low - span * 0.4), high + span * 1.2, high + span * 0.8
    axes.set_xlim(left, right)
    largest = max(point.bytes for point in points)
    front = _front(points)
    if len(front) > 1:
        axes.plot(
            [point.token_ms for point in front],
            [point.quality for point in front],
            color=QUIET,
            linestyle=(0, (4, 3)),
            linewidth=1,
            drawstyle="steps-post",
            zorder=1,
        )
    for point in points:
        known = point.token_ms is not None
        x = point.token_ms if known else edge
        colour = SERIES[point.at % len(SERIES)]
        area = 40 + 160 * point.bytes / largest
        if point.ends is not None:
            axes.plot([x, x], point.ends, color=colour, linewidth=1.4, zorder=2)
        axes.scatter(
            [x],
            [point.quality],
            s=area,
            marker=_MARKERS[point.at % len(_MARKERS)],
            facecolors=colour if known else PAPER,
            edgecolors=colour,
            linewidths=1.5,
            zorder=3,
        )
    _label_points(axes, points, edge)
    _percent_room(axes, points)


def _label_points(axes: Any, points: Sequence[_Point], edge: float) -> None:
    """Write the labels; those of points at the same height are stacked."""
    placed: list[float] = []
    above_or_below = (9, -17, 21, -29, 33, -41)
    for point in sorted(points, key=lambda point: -point.quality):
        x = edge if point.token_ms is None else point.token_ms
        near = sum(abs(other - point.quality) < 0.05 for other in placed)
        placed.append(point.quality)
        axes.annotate(
            point.label,
            (x, point.quality),
            xytext=(9 if point.token_ms is not None else -9, above_or_below[near % 6]),
            textcoords="offset points",
            fontsize=9,
            ha="right" if point.token_ms is None else "left",
        )


def _percent_room(axes: Any, points: Sequence[_Point]) -> None:
    values = [value for point in points for value in (point.ends or (point.quality,))]
    axes.set_ylim(max(-0.02, min(values) - 0.12), min(1.08, max(values) + 0.08))


def _front(points: Iterable[_Point]) -> list[_Point]:
    """Return the timed points that no other beats in both quality and time, fastest first."""
    timed = sorted(
        (point for point in points if point.token_ms is not None),
        key=lambda point: (point.token_ms, -point.quality),
    )
    front: list[_Point] = []
    for point in timed:
        if not front or point.quality > front[-1].quality:
            front.append(point)
    return front


def _reference_lines(axes: Any, bench: Bench) -> None:
    """Draw the quality of base and fine-tuned model as lines, if within the axis, and as text."""
    bottom, top = axes.get_ylim()
    quality = next((item.quality for item in bench.targets if item.quality), {})
    handles = []
    for name, words, dashes in (
        ("tuned", "fine-tuned model", (1.0, 2.0)),
        ("base", "base model", (5.0, 2.0)),
    ):
        value = _number(quality.get(name))
        if value is None:
            continue
        inside = bottom <= value <= top
        look: dict[str, Any] = {"color": QUIET, "linewidth": 1, "linestyle": (0, dashes)}
        if inside:
            axes.axhline(value, zorder=0, **look)
        beyond = "" if inside else ", below" if value < bottom else ", above"
        label = f"{words} {percent(value)}{beyond}"
        handles.append(Line2D([], [], label=label, **look) if inside else _no_line(label))
    if handles:
        # Below the points: the axis leaves room there.
        axes.legend(handles=handles, loc="lower left", handlelength=1.6, labelcolor=QUIET)


def _no_line(label: str) -> Line2D:
    return Line2D([], [], linestyle="none", label=label)


def latency(bench: Bench, name: str) -> Plot | None:
    """Draw the distributions of the times of one figure, a row per kind of prompt and target."""
    rows = [
        (prompt, at, target, measurement)
        for prompt in dict.fromkeys(
            prompt
            for target in bench.targets
            for measurement in target.measurements
            for prompt in measurement.artifact.prompts
        )
        for at, target in enumerate(bench.targets)
        for measurement in target.measurements
        if FIGURES[name].samples(measurement.artifact.joined(prompt))
    ]
    if not rows:
        return None
    title = {"first_token_ms": "Time to first token", "token_ms": "Time of each further token"}[
        name
    ]
    with _figure(0.75 + 0.34 * len(rows)) as (figure, axes):
        labels, descriptions = [], []
        for y, (prompt, at, target, measurement) in enumerate(rows):
            times = FIGURES[name].samples(measurement.artifact.joined(prompt))
            _draw_row(axes, y, times, SERIES[at % len(SERIES)])
            label = f"{prompt} · {_name_of(target, measurement)}"
            labels.append(label)
            tail = _tail(times)
            middle = f"p50 {milliseconds(percentile(times, 0.5))}"
            tail_text = "" if tail is None else f", p90 {milliseconds(tail)}"
            descriptions.append(f"{label}: {middle}{tail_text}")
        axes.set_yticks(range(len(rows)), labels)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        _time_axis(
            axes, [t for p, _, _, m in rows for t in FIGURES[name].samples(m.artifact.joined(p))]
        )
        axes.set_xlabel("ms")
        svg = to_svg(figure, f"latency-{name}", title, "; ".join(descriptions) + ".")
    caption = (
        "Prompt and target. Dots are single answers or tokens, the bar holds the middle half; the "
        "ring is the p50, the diamond the p90 where there are samples enough for one."
    )
    return Plot(f"latency-{name}", title, caption, svg)


def _draw_row(axes: Any, y: float, times: Sequence[float], colour: str) -> None:
    ordered = sorted(times)
    step = max(1, len(ordered) // _STRIP)
    dots = [*ordered[::step], ordered[-1]]
    # A fixed zigzag instead of random jitter, so that the same bench gives the same page.
    offsets = [0.13 + 0.22 * ((7 * at) % 10) / 10 for at in range(len(dots))]
    axes.scatter(dots, [y + one for one in offsets], s=4, color=colour, alpha=0.45, linewidths=0)
    low, middle, high = (percentile(ordered, share) for share in (0.25, 0.5, 0.75))
    axes.plot([low, high], [y - 0.08] * 2, color=colour, linewidth=6, alpha=0.55)
    axes.scatter(
        [middle], [y - 0.08], s=34, facecolors=PAPER, edgecolors=colour, linewidths=1.6, zorder=4
    )
    tail = _tail(ordered)
    if tail is not None:
        axes.scatter([tail], [y - 0.08], s=26, marker="D", color=colour, zorder=4)


def _tail(times: Sequence[float]) -> float | None:
    """Return the p90; ``None`` if there are too few samples."""
    share = SHARES["p90"]
    return None if allowed_over(len(times), share) is None else percentile(times, share)


def _time_axis(axes: Any, times: Sequence[float]) -> None:
    if max(times) / min(times) <= _WIDE:
        axes.xaxis.set_major_locator(MaxNLocator(5))
        return
    axes.set_xscale("log")
    subs = (1.0, 2.0, 5.0) if max(times) / min(times) > 20 else (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
    axes.xaxis.set_major_locator(LogLocator(subs=subs, numticks=7))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def loss(training: TrainingBench) -> Plot | None:
    """Draw the loss of a training pass over optimizer steps."""
    if not (training.train or training.validation):
        return None
    title = f"Loss of {training.name}"
    with _figure(2.6) as (figure, axes):
        descriptions = []
        for words, points, colour, marker in (
            ("training", training.train, SERIES[0], ""),
            ("validation", training.validation, SERIES[1], "o"),
        ):
            if not points:
                continue
            steps, losses = zip(*points, strict=True)
            axes.plot(steps, losses, color=colour, marker=marker, markersize=4, label=words)
            descriptions.append(f"{words} loss from {losses[0]:.3g} to {losses[-1]:.3g}")
        axes.set_xlabel("optimizer step")
        axes.set_ylabel("loss (nats per token)")
        axes.set_ylim(bottom=0)
        axes.legend(loc="upper right")
        svg = to_svg(figure, f"loss-{training.key[:12]}", title, "; ".join(descriptions) + ".")
    serves = ", ".join(training.targets)
    return Plot(f"loss-{training.name}", title, f"Serves {serves}.", svg)


def changes(comparison: Comparison) -> Plot | None:
    """Draw the ratio of every time to its earlier value, with its interval and a line at 1."""
    rows = [one for one in comparison.movements if one.kind == "latency"]
    if not rows:
        return None
    title = "Latency, now relative to then"
    with _figure(0.85 + 0.28 * len(rows)) as (figure, axes):
        small = comparison.smallest_ratio
        axes.axvspan(1 / (1 + small), 1 + small, color=GRID, alpha=0.6, linewidth=0)
        axes.axvline(1, color=QUIET, linewidth=1)
        for y, row in enumerate(rows):
            _draw_change(axes, y, row)
        several = len({row.target for row in rows}) > 1
        axes.set_yticks(
            range(len(rows)),
            [f"{row.target} · {row.what}" if several else row.what for row in rows],
        )
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _percent_off(value)))
        axes.xaxis.set_major_locator(_AroundOne(_MOST_TICKS))
        axes.set_xlabel("← faster     slower →")
        described = "; ".join(f"{row.target} {row.what}: {row.word}" for row in rows)
        svg = to_svg(figure, "changes", title, described + ".")
    caption = (
        "Lines are 95 % intervals; the band is the smallest change of interest, "
        f"{100 * small:g} %. A filled marker is a real change."
    )
    return Plot("changes", title, caption, svg)


class _AroundOne(MaxNLocator):
    """Ticks at round distances from 1, which is always one of them: there nothing has changed."""

    def tick_values(self, vmin: float, vmax: float) -> Any:
        """Return the ticks between ``vmin`` and ``vmax``."""
        return [1 + off for off in super().tick_values(min(vmin, 1) - 1, max(vmax, 1) - 1)]


def _percent_off(value: float) -> str:
    """Return how far a ratio is from 1, as ``+10 %``; ``0 %`` without a sign."""
    off = 100 * (value - 1)
    return "0 %" if abs(off) < 1e-6 else f"{off:+.3g} %"


def _draw_change(axes: Any, y: int, row: FigureChange) -> None:
    colour = {"slower": SERIES[1], "faster": SERIES[2]}.get(row.word, QUIET)
    marker = {"slower": ">", "faster": "<"}.get(row.word, "o")
    filled = row.word in ("slower", "faster")
    if row.change.low is not None and row.change.high is not None:
        ends = (max(row.change.low, 0.4), min(row.change.high, 2.5))
        axes.plot(ends, [y, y], color=colour, linewidth=1.6)
    axes.scatter(
        [row.change.value],
        [y],
        s=36,
        marker=marker,
        facecolors=colour if filled else PAPER,
        edgecolors=colour,
        linewidths=1.5,
        zorder=3,
    )


@contextmanager
def _figure(height: float) -> Iterator[tuple[Figure, Any]]:
    """Yield a figure and its axes in the page's style, without changing Matplotlib's settings."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        yield figure, figure.add_subplot()


def _name_of(target: TargetBench, measurement: Measurement) -> str:
    several = len(target.measurements) > 1
    return (
        f"{target.target} ({'here' if measurement.here else 'elsewhere'})"
        if several
        else target.target
    )


def _token_ms(target: TargetBench) -> float | None:
    """Return the median time of a token for the first kind of prompts."""
    measured = target.measured
    if measured is None or not measured.artifact.prompts:
        return None
    statistics = measured.statistics.get(measured.artifact.prompts[0], {}).get("token_ms")
    return None if statistics is None else statistics.p50.value


def _ends(target: TargetBench) -> tuple[float, float] | None:
    ends = target.quality.get("interval")
    if isinstance(ends, list) and len(ends) == 2:
        low, high = (_number(end) for end in ends)
        if low is not None and high is not None:
            return low, high
    return None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
