"""The trials of a ``tune`` pass on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape

from targets.console.whole_table import WholeTable
from targets.report.report_schema import Report
from targets.report.tuning_rows import (
    TrialRow,
    column_title,
    columns,
    front,
    headline,
    pinned,
    rows,
    tuning_of,
)

_MOST = 16
"""Largest number of rows shown; the report has all."""


def print_tuning(console: Console, report: Report) -> None:
    """Show the trials, the choice, and the table that pins it."""
    summary = tuning_of(report)
    if summary is None:
        return
    every = list(rows(summary))
    # The last ones decided it: they were held to the limits.
    shown = every[-_MOST:]
    if shown:
        titles = [column_title(name) for name in columns(summary)]
        console.print(_table(titles, shown))
    if len(shown) < len(every):
        console.print(f"[dim]{len(every) - len(shown)} trials before these are in the report[/]")
    for row in shown:
        if row.out:
            console.print(f"[yellow]✗[/] {escape(', '.join(row.choice))}: {escape(row.result)}")
    console.print(f"tuned  {escape(headline(summary))}", highlight=False)
    best = front(summary)
    if best:
        console.print(f"front  {escape(best)}", highlight=False)
    console.print("[dim]the same bytes without measuring, in place of the pass:[/]")
    console.print(escape(pinned(summary, report.target)), highlight=False, soft_wrap=True)


def _table(titles: list[str], shown: list[TrialRow]) -> WholeTable:
    table = WholeTable(collapse_padding=True)
    table.column("", wrap=False)
    table.column("layers", wrap=False)
    for title in titles:
        table.column(title)
    for title in ("prompt", "tokens", "KL", "size"):
        table.column(title, justify="right", wrap=False)
    for row in shown:
        mark, style = ("✓", "bold green") if row.chosen else ("•" if row.front else "", "")
        if row.out:
            mark, style = "✗", "yellow"
        cells = (mark, row.layers, *row.choice, row.prompt, row.decode, row.cost, row.size)
        table.row(*map(escape, cells), style=style)
    return table
