"""Draws how seconds and memory grow: two panels, each logarithmic both ways."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from targets.bench.svg import GRID, INK, QUIET, SERIES, VARIABLES, to_svg

_NAMES = ("--ink", "--quiet", "--grid", "--paper", *(VARIABLES[one] for one in SERIES[:4]))
_LIGHT = ("#1f2328", "#59636e", "#d1d9e0", "#ffffff", "#0969da", "#bc4c00", "#1a7f37", "#8250df")
_DARK = ("#f0f6fc", "#9198a1", "#3d444d", "#0d1117", "#4493f8", "#db6d28", "#3fb950", "#ab7df8")
_MARKERS = ("o", "s", "^", "D")
_SIZE = (9.0, 3.4)
"""Inches of 72 units."""


@dataclass(frozen=True)
class Point:
    """What something of one size takes."""

    series: str
    size: float
    seconds: float
    peak_bytes: float


def drawing(points: Iterable[Point], title: str, axis: str) -> str:
    """Return the picture of ``points`` as a file of its own, for light and dark pages; ``axis``
    says what grows."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    series: dict[str, list[Point]] = defaultdict(list)
    for point in points:
        series[point.series].append(point)
    style: dict[Any, Any] = {
        "font.size": 10,
        "text.parse_math": False,  # names are text
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": QUIET,
        "axes.axisbelow": True,
        "axes.grid": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "grid.color": GRID,
        "legend.frameon": False,
        **{f"{way}tick.color": QUIET for way in "xy"},
        **{f"{way}tick.labelcolor": INK for way in "xy"},
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=_SIZE, layout="constrained")
        left, right = figure.subplots(1, 2)
        for place, unit in ((left, "seconds"), (right, "peak memory, MB")):
            for at, (name, some) in enumerate(series.items()):
                seconds = place is left
                values = [one.seconds if seconds else one.peak_bytes / 1e6 for one in some]
                place.plot(
                    [one.size for one in some],
                    values,
                    color=SERIES[at],
                    marker=_MARKERS[at],
                    label=name,
                )
            place.set(xscale="log", yscale="log", xlabel=axis, ylabel=unit)
            _plain_numbers(place, [one.size for some in series.values() for one in some])
        left.legend()
        svg = to_svg(figure, "growth", title, _described(series))
    return svg.replace(">", f">{_style()}", 1)


def _plain_numbers(place: Any, sizes: Sequence[float]) -> None:
    """Have the axes show the sizes that there are, and numbers as people write them."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    numbers = FuncFormatter(lambda value, _: f"{value:,.10g}")
    shown = sorted(set(sizes))
    place.xaxis.set_major_locator(FixedLocator(shown))
    place.xaxis.set_minor_locator(NullLocator())
    place.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    place.yaxis.set_major_formatter(numbers)
    place.yaxis.set_minor_formatter(FuncFormatter(lambda _value, _: ""))


def _short(value: float) -> str:
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:g}"


def _described(series: Mapping[str, Sequence[Point]]) -> str:
    return "; ".join(
        f"{name}: {some[0].seconds:.1f} s and {some[0].peak_bytes / 1e6:.0f} MB at "
        f"{_short(some[0].size)}, {some[-1].seconds:.1f} s and {some[-1].peak_bytes / 1e6:.0f} MB "
        f"at {_short(some[-1].size)}"
        for name, some in series.items()
    )


def _style() -> str:
    def variables(colours: Sequence[str]) -> str:
        return "; ".join(f"{name}: {colour}" for name, colour in zip(_NAMES, colours, strict=True))

    return (
        f"<style>svg {{ {variables(_LIGHT)}; font-family: sans-serif }} "
        f"@media (prefers-color-scheme: dark) {{ svg {{ {variables(_DARK)} }} }}</style>"
    )
