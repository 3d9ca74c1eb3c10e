"""The summary of a build on the terminal: verdicts, quality, latency, size, and its folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from pipeline.contract.kinds import ARTIFACT_WORDS
from pipeline.contract.result import Verdict
from targets.console.print_tuning import print_tuning
from targets.console.whole_table import WholeTable
from targets.figures import percent, rate, size, verdict_limit, verdict_value, verdict_words
from targets.report.report_schema import Report
from targets.report.training_rows import trainings

_STYLES = {"passed": "green", "failed": "red", "unverified": "yellow"}
_MARKS = {"passed": "✓", "failed": "✗", "unverified": "?"}


def print_summary(console: Console, report: Report, folder: Path, seconds: float) -> None:
    """Show the verdicts of ``report``, its figures, and the folder of the artifact."""
    console.print()
    if report.checks:
        console.print(_table(report))
        _print_proofs(console, report)
    else:
        console.print(f"no check applies to {ARTIFACT_WORDS[report.artifact]}: nothing is verified")
    print_tuning(console, report)
    for line in _figures(report):
        console.print(line, highlight=False)
    if report.unconfined:
        console.print(f"[yellow]{escape(report.unconfined)}[/]", highlight=False)
    if report.made_elsewhere:
        console.print(f"steps {escape(report.made_elsewhere)}", highlight=False)
    style = _STYLES[report.status]
    console.print(
        f"[{style} bold]{report.status}[/]  {escape(str(folder / 'model'))}  in {seconds:.1f} s",
        highlight=False,
        soft_wrap=True,
    )


def _table(report: Report) -> WholeTable:
    table = WholeTable()
    table.column("", wrap=False)
    table.column("check", wrap=False)
    table.column("measured", justify="right", wrap=False)
    table.column("limit", justify="right", wrap=False)
    table.column("")
    proofs = [verdict for verdict in report.checks if _is_proof(verdict)]
    for verdict in report.checks:
        if verdict not in proofs:
            table.row(*_row(verdict))
    return table


def _print_proofs(console: Console, report: Report) -> None:
    """Show all passed verdicts without a figure in one line."""
    names = [verdict.name for verdict in report.checks if _is_proof(verdict)]
    if names:
        listed = escape(", ".join(names))
        console.print(f"[green]✓[/] {len(names)} proofs hold: [dim]{listed}[/]", highlight=False)
        console.print()


def _is_proof(verdict: Verdict) -> bool:
    """Return whether a verdict passed and has no figure."""
    return verdict.status == "passed" and verdict.unit == "problems"


def _row(verdict: Verdict) -> Iterator[str]:
    style = _STYLES[verdict.status]
    yield f"[{style}]{_MARKS[verdict.status]}[/]"
    yield escape(verdict.name)
    yield verdict_value(verdict)
    yield verdict_limit(verdict)
    # For a passed check the figures are enough; the report has the details.
    words = verdict.limit_source if verdict.status == "passed" else verdict_words(verdict)
    yield escape(words)


def _figures(report: Report) -> Iterator[str]:
    quality = report.quality
    if quality:
        shares = [quality.get(name) for name in ("base", "tuned", "artifact")]
        base, tuned, artifact = (
            percent(share) if isinstance(share, (int, float)) else "–" for share in shares
        )
        built = f" → {report.target} {artifact}" if report.artifact == "onnx" else ""
        yield (
            f"{quality.get('metric')}  base {base} → tuned {tuned}{built}"
            f"  ({quality.get('samples')} held-out samples)"
        )
    for training in trainings(report):
        gpu = training.peak_device_bytes
        device = "" if gpu is None else f", of the GPU {size(gpu)}"
        yield (
            f"{training.step}  tokens {rate(training.tokens_per_second)}"
            f"  (peak memory {size(training.peak_rss_bytes)}{device})"
        )
    kind = "" if report.artifact == "onnx" else f", {ARTIFACT_WORDS[report.artifact]}"
    yield f"size  {size(report.size_bytes)}{kind}"
