"""Builds on the terminal: a list of them, and what differs between two."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from targets.console.whole_table import WholeTable
from targets.figures import milliseconds, percent, size
from targets.report.compare_reports import Difference
from targets.report.find_reports import FoundReport
from targets.report.main_figures import latency_of, quality_of

_STYLES = {"passed": "green", "failed": "red", "unverified": "yellow"}


def print_builds(console: Console, found: Iterable[FoundReport]) -> None:
    """Show a row for each build and target."""
    table = WholeTable()
    for title in ("build", "target", "status", "built"):
        table.column(title, wrap=False)
    for title in ("right", "a token", "size"):
        table.column(title, justify="right", wrap=False)
    for one in found:
        report = one.report
        token = next(iter(latency_of(report, "token_ms").values()), None)
        table.row(
            escape(report.build),
            report.target,
            f"[{_STYLES[report.status]}]{report.status}[/]",
            f"{one.written.astimezone():%Y-%m-%d %H:%M}",
            percent(quality_of(report, "artifact")),
            milliseconds(token),
            size(report.size_bytes),
        )
    console.print(table)


def print_comparison(
    console: Console, folders: Sequence[Path], parts: Iterable[tuple[str, Sequence[Difference]]]
) -> None:
    """Show what differs between the builds in two ``folders``, part by part."""
    for title, rows in parts:
        if not rows:
            continue
        table = WholeTable(title)
        table.column("")
        for folder in folders:
            table.column(str(folder), justify="right")
        for row in rows:
            cells = (escape(cell or "–") for cell in (row.what, row.first, row.second))
            table.row(*cells, style="dim" if row.first == row.second else "")
        console.print(table)
