"""``report.md``: the report as a person reads it."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.plan import ARTIFACT_WORDS
from targets.report import figures
from targets.report.model import Report


def to_markdown(report: Report) -> str:
    """Return ``report`` as Markdown."""
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
        duration=figures.duration,
        figure=figures.verdict_value,
        limit=figures.verdict_limit,
        percent=figures.percent,
        cell=lambda text: str(text).replace("|", "\\|").replace("\n", " "),
    )
    return environment.get_template("report.md.j2").render(
        report=report, words=ARTIFACT_WORDS[report.artifact]
    )
