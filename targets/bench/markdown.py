"""``bench.md``: the bench as text, for a pull request or a terminal."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from targets.bench import shown
from targets.bench.compare import prompt_words
from targets.bench.model import Bench
from targets.report import figures


def to_markdown(bench: Bench) -> str:
    """Return ``bench`` as Markdown."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - Markdown, not HTML; values are escaped by `cell`
    )
    environment.filters.update(
        bytes=figures.size,
        figure=figures.verdict_value,
        limit=figures.verdict_limit,
        quality=shown.quality_range,
        paired=shown.paired,
        metric=shown.metric,
        time=shown.milliseconds,
        rate=shown.rate,
        range=shown.time_range,
        prompt=prompt_words,
        busy=shown.busy,
        change=shown.change_of,
        when=shown.when,
        cell=_cell,
    )
    return environment.get_template("bench.md.j2").render(
        bench=bench,
        headline=shown.headline(bench),
        against=shown.against(bench),
        statistics=shown.statistics,
        where=shown.where,
        value_of=shown.value_of,
    )


def _cell(text: object) -> str:
    """Return ``text`` so that it stays in its cell and is no markup of its own."""
    plain = " ".join(str(text).split())
    for sign in ("\\", "|", "<", "[", "`", "*"):
        plain = plain.replace(sign, f"\\{sign}")
    return plain
