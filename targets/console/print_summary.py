"""The summary of a build on the terminal: what matters first, then what was proven."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding

from pipeline.contract.kinds import ARTIFACT_WORDS
from targets.console.whole_table import WholeTable
from targets.figures import rate, size, verdict_limit, verdict_value, verdict_words
from targets.report.dist import HTML_FILE, MODEL_DIR
from targets.report.headline import greedy, headline, models
from targets.report.judged import Answered, Judged, answer_questions, judge
from targets.report.report_schema import Report
from targets.report.training_rows import trainings

_STYLES = {"passed": "green", "failed": "red", "unverified": "yellow"}
_MARKS = {"passed": "✓", "failed": "✗", "unverified": "?"}
_INDENT = 2
_LISTED = 3
"""Names of one status that stand beside a question."""


def print_summary(
    console: Console, report: Report, folder: Path, seconds: float, everything: bool = False
) -> None:
    """Show what ``report`` comes to: its headline; what failed, what is unverified and the config's
    own limits; each question with how many proofs hold; and the folder of the artifact.

    With ``everything``, all verdicts are listed.
    """
    console.print()
    console.print(f"[bold]{escape(headline(report))}[/]", highlight=False)
    for line in _of_the_headline(report):
        console.print(_indented(f"[dim]{escape(line)}[/]"), highlight=False)
    judged = judge(report)
    if not judged:
        kind = ARTIFACT_WORDS[report.artifact]
        console.print(f"no check applies to {kind}: nothing is verified")
    answered = answer_questions(judged)
    every = (one for answer in answered for one in answer.judged)
    for one in _not_passed(judged):
        _print_not_passed(console, one)
    _print_verdicts(console, every if everything else _limits_of_config(judged))
    _print_questions(console, answered)
    if any(step.type == "tune" for step in report.passes):
        from targets.console.print_tuning import print_tuning

        print_tuning(console, report)
    for line in (*(_trainings(report) if everything else ()), *_made(report)):
        console.print(line, highlight=False)
    if judged:
        page = escape(str(folder / HTML_FILE))
        more = "" if everything else "; `-v` lists all proofs"
        console.print(f"[dim]{page} says what each check proves{more}[/]", highlight=False)
    style = _STYLES[report.status]
    console.print(
        f"[{style} bold]{report.status}[/]  {escape(str(folder / MODEL_DIR))}  in {seconds:.1f} s",
        highlight=False,
        soft_wrap=True,
    )


def _of_the_headline(report: Report) -> Iterator[str]:
    """Yield what its figures mean."""
    yield from filter(None, (models(report), greedy(report)))
    if report.artifact != "onnx":
        yield f"what was built is {ARTIFACT_WORDS[report.artifact]}"


def _not_passed(judged: Sequence[Judged]) -> list[Judged]:
    """Return what failed, then what is unverified."""
    return [
        one for status in ("failed", "unverified") for one in judged if one.verdict.status == status
    ]


def _limits_of_config(judged: Iterable[Judged]) -> list[Judged]:
    """Return what passed and has its limit from the config."""
    return [one for one in judged if one.set_by_config and one.verdict.status == "passed"]


def _print_not_passed(console: Console, one: Judged) -> None:
    """Show a verdict on all of the width, with what can be done where it failed."""
    verdict = one.verdict
    figures = f"  {verdict_value(verdict)}, limit {verdict_limit(verdict)}"
    console.print()
    console.print(
        f"{_mark(verdict.status)} [bold]{escape(verdict.name)}[/]"
        + (figures if verdict.value is not None else "  unverified"),
        highlight=False,
    )
    advice = f"→ {one.words.do}" if one.words and verdict.status == "failed" else ""
    for line in filter(None, (verdict_words(verdict), advice)):
        console.print(_indented(escape(line)), highlight=False)


def _indented(text: str) -> Padding:
    return Padding(text, (0, 0, 0, _INDENT), expand=False)


def _mark(status: str) -> str:
    return f"[{_STYLES[status]}]{_MARKS[status]}[/]"


def _print_verdicts(console: Console, judged: Iterable[Judged]) -> None:
    table = WholeTable()
    table.column("", wrap=False)
    table.column("check", wrap=False)
    table.column("measured", justify="right", wrap=False)
    table.column("limit", justify="right", wrap=False)
    table.column("")
    for one in judged:
        table.row(*_row(one))
    if table.row_count:
        console.print(table)


def _row(one: Judged) -> Iterator[str]:
    verdict = one.verdict
    yield _mark(verdict.status)
    yield escape(verdict.name)
    yield verdict_value(verdict)
    yield verdict_limit(verdict)
    # The figures are enough; the report has the details.
    yield escape(verdict.limit_source or ("set by the config" if one.set_by_config else ""))


def _print_questions(console: Console, answered: Iterable[Answered]) -> None:
    """Show a line for each question: how many of its proofs hold, and which do not."""
    table = WholeTable(show_header=False)
    table.column("", wrap=False)
    table.column("", wrap=False)
    table.column("")
    for one in answered:
        style = _STYLES[one.status]
        table.row(f"[{style}]{_MARKS[one.status]}[/]", escape(one.question), escape(_holding(one)))
    if table.row_count:
        console.print(table)


def _holding(one: Answered) -> str:
    count = len(one.judged)
    if one.holding < count:
        return f"{one.holding} of {count} proofs hold{_others(one)}"
    return "1 proof holds" if count == 1 else f"all {count} proofs hold"


def _others(one: Answered) -> str:
    """Return the proofs that do not hold, by their status."""
    words = ""
    for status in ("failed", "unverified"):
        names = [item.verdict.name for item in one.judged if item.verdict.status == status]
        if names:
            more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
            words += f"; {status}: {', '.join(names[:_LISTED])}{more}"
    return words


def _trainings(report: Report) -> Iterator[str]:
    for training in trainings(report):
        gpu = training.peak_device_bytes
        device = "" if gpu is None else f", of the GPU {size(gpu)}"
        yield (
            f"{escape(training.step)}  tokens {rate(training.tokens_per_second)}"
            f"  (peak memory {size(training.peak_rss_bytes)}{device})"
        )


def _made(report: Report) -> Iterator[str]:
    if report.unconfined:
        yield f"[yellow]{escape(report.unconfined)}[/]"
    if report.made_elsewhere:
        yield f"steps {escape(report.made_elsewhere)}"
