"""What a ``tune`` pass tried, on the screen."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from targets.report.model import Report
from targets.report.tuning import Row, headline, pinned, rows, told_by

_MOST = 16
"""Rows that are shown; the report has all."""


def print_tuning(console: Console, report: Report) -> None:
    """Show what was tried, what was chosen, and the table that pins it."""
    told = told_by(report)
    if told is None:
        return
    every = list(rows(told))
    # The last ones decided it: they were held to the limits.
    shown = every[-_MOST:]
    if shown:
        console.print(_table(shown))
    if len(shown) < len(every):
        console.print(f"[dim]{len(every) - len(shown)} trials before these are in the report[/]")
    console.print(f"tuned  {escape(headline(told))}", highlight=False)
    console.print("[dim]the same bytes without measuring, in place of the pass:[/]")
    console.print(escape(pinned(told, report.target)), highlight=False, soft_wrap=True)


def _table(shown: list[Row]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("layers", no_wrap=True)
    table.add_column("build")
    table.add_column("session")
    for title in ("prompt", "tokens", "KL", "size"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("")
    for row in shown:
        style = "bold green" if row.chosen else "yellow" if row.out else ""
        cells = (
            *(row.layers, row.build, row.session),
            *(row.prompt, row.decode, row.cost, row.size, row.result),
        )
        table.add_row(*map(escape, cells), style=style)
    return table
