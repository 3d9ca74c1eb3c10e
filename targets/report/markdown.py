"""``report.md``: the report for people."""

from __future__ import annotations

from pathlib import Path

from pipeline.contract.kinds import ARTIFACT_WORDS
from targets.report.model import Report
from targets.report.templates import markdown_environment
from targets.report.training import trainings
from targets.report.tuning import column_title, columns, headline, pinned, rows, told_by


def to_markdown(report: Report) -> str:
    """Return ``report`` as Markdown."""
    environment = markdown_environment(Path(__file__).parent)
    told = told_by(report)
    return environment.get_template("report.md.j2").render(
        report=report,
        words=ARTIFACT_WORDS[report.artifact],
        told=told,
        headline=headline(told) if told else "",
        names=[column_title(name) for name in columns(told)] if told else [],
        trials=list(rows(told)) if told else [],
        pinned=pinned(told, report.target) if told else "",
        trainings=list(trainings(report)),
    )
