"""``report.md``: the report for people; and its beginning, for the page of a CI job."""

from __future__ import annotations

from pipeline.contract.kinds import ARTIFACT_WORDS
from targets.foreign_text import one_line
from targets.report.data_rows import counts, trained_views
from targets.report.headline import greedy
from targets.report.report_schema import Report
from targets.report.templates import TEMPLATES, markdown_environment
from targets.report.training_rows import trainings
from targets.report.tuning_rows import tuning_values


def to_markdown(report: Report) -> str:
    """Return ``report`` as Markdown."""
    environment = markdown_environment(TEMPLATES)
    return environment.get_template("report.md.j2").render(
        report=report,
        greedy=greedy(report),
        words=ARTIFACT_WORDS[report.artifact],
        **tuning_values(report),
        trainings=list(trainings(report)),
        seen=list(trained_views(report)),
        counts=counts,
        one_line=one_line,
    )


def to_step_summary(report: Report) -> str:
    """Return what a CI job's page shows of ``report``: its figures, and every check that failed or
    is unverified."""
    environment = markdown_environment(TEMPLATES)
    return environment.get_template("step_summary.md.j2").render(
        report=report,
        open=[check for check in report.checks if check.status != "passed"],
        passed=sum(check.status == "passed" for check in report.checks),
    )
