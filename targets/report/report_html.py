"""``report.html``: the report for people as one page, without network and scripts."""

from __future__ import annotations

from pipeline.contract.kinds import ARTIFACT_WORDS
from targets.foreign_text import one_line
from targets.report.data_rows import counts, trained_views
from targets.report.report_schema import Report
from targets.report.templates import TEMPLATES, html_environment


def to_html(report: Report) -> str:
    """Return ``report`` as a page."""
    return (
        html_environment(TEMPLATES)
        .get_template("report.html.j2")
        .render(
            report=report,
            words=ARTIFACT_WORDS[report.artifact],
            seen=list(trained_views(report)),
            counts=counts,
            one_line=one_line,
        )
    )
