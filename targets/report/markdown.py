"""``report.md``: the report as a person reads it."""

from __future__ import annotations

from pathlib import Path

from pipeline.plan import ARTIFACT_WORDS
from targets.report.model import Report
from targets.report.templates import markdown_environment


def to_markdown(report: Report) -> str:
    """Return ``report`` as Markdown."""
    environment = markdown_environment(Path(__file__).parent)
    return environment.get_template("report.md.j2").render(
        report=report, words=ARTIFACT_WORDS[report.artifact]
    )
