"""``report.html``: the report for people as one page, without network and scripts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup
from pydantic import JsonValue

from pipeline.contract.kinds import ARTIFACT_WORDS
from pipeline.run.registry import load_check
from targets.foreign_text import one_line
from targets.report.check_words import CheckWords, check_types_with_words
from targets.report.confusion import confusions
from targets.report.data_rows import counts, trained_views
from targets.report.headline import greedy, headline, models
from targets.report.judged import Judged, answer_questions, judge
from targets.report.loss_curves import loss_curves
from targets.report.loss_plot import loss_plot
from targets.report.report_schema import Report
from targets.report.templates import TEMPLATES, html_environment
from targets.report.tuning_rows import tuning_values

_LARGEST_MATRIX = 16
"""Labels up to which a matrix can be read; of more, the most frequent mistakes are listed."""
_MOST_MISTAKES = 20
_OWN_CHECK = "script"
"""The check that only runs if a config names it."""


@dataclass(frozen=True)
class LossOf:
    """The plot of the loss of one step; without one, why there is none."""

    step: str
    svg: Markup | None


def to_html(report: Report) -> str:
    """Return ``report`` as a page."""
    judged = judge(report)
    return (
        html_environment(TEMPLATES)
        .get_template("report.html.j2")
        .render(
            report=report,
            headline=headline(report),
            models=models(report),
            greedy=greedy(report),
            words=ARTIFACT_WORDS[report.artifact],
            judged=judged,
            first=first_of(judged),
            answered=answer_questions(judged),
            explained=explained(judged),
            unverified=[one for one in judged if one.verdict.status == "unverified"],
            not_run=not_run(report),
            confusions=tuple(confusions(report.quality, report.target)),
            scores=_scores(report),
            largest_matrix=_LARGEST_MATRIX,
            mistakes=lambda matrix: matrix.mistakes()[:_MOST_MISTAKES],
            wrong=wrong_answers(report),
            wrong_count=_wrong_count(report),
            losses=tuple(_losses(report)),
            outputs=[step for step in report.passes if step.kind == "pass" and step.bytes],
            seen=list(trained_views(report)),
            **tuning_values(report),
            counts=counts,
            one_line=one_line,
        )
    )


def first_of(judged: Sequence[Judged]) -> list[Judged]:
    """Return what stands first: what failed, then the limits that the config sets."""
    failed = [one for one in judged if one.verdict.status == "failed"]
    return [*failed, *(one for one in judged if one.set_by_config and one not in failed)]


def explained(judged: Sequence[Judged]) -> list[CheckWords]:
    """Return the words of all verdicts, each once."""
    return list(dict.fromkeys(one.words for one in judged if one.words is not None))


def not_run(report: Report) -> list[str]:
    """Return the checks that did not run: skipped, or of no use for this artifact."""
    ran = {step.type for step in report.passes if step.kind == "check"}
    left = check_types_with_words() - ran - {_OWN_CHECK}
    return sorted(name for name in left if load_check(name).stands_in_for not in ran)


def wrong_answers(report: Report) -> list[Mapping[str, str]]:
    """Return the wrong answers that the report has: place, question, expected and given answer."""
    rows = report.quality.get("wrong")
    return [
        _texts(row) for row in (rows if isinstance(rows, list) else []) if isinstance(row, dict)
    ]


def _texts(row: Mapping[str, JsonValue]) -> Mapping[str, str]:
    return {
        name: "" if (value := row.get(name)) is None else str(value)
        for name in ("place", "asked", "expected", "greedy", "choice")
    }


def _wrong_count(report: Report) -> int | None:
    """Return how many answers are wrong, of which the report may have some only."""
    share = report.quality.get("artifact" if report.artifact == "onnx" else "tuned")
    samples = report.quality.get("samples")
    if isinstance(share, (int, float)) and isinstance(samples, int):
        return round((1 - share) * samples)
    return None


def _scores(report: Report) -> Mapping[str, Mapping[str, JsonValue]]:
    """Return the figures of each model's answers."""
    details = report.quality.get("details")
    table = details if isinstance(details, dict) else {}
    return {name: one for name, one in table.items() if isinstance(one, dict)}


def _losses(report: Report) -> Iterator[LossOf]:
    for number, curves in enumerate(loss_curves(report)):
        yield LossOf(curves.step, loss_plot(curves, f"loss-{number}"))
