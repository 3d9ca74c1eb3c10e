"""The data set on the terminal: what a person should look at before training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape

from pipeline.data.findings import Lengths, Look
from pipeline.data.trained_view import Sample
from targets.console.whole_table import WholeTable
from targets.foreign_text import one_line
from targets.report.data_rows import counts
from targets.report.seen_data import SeenData


def print_data(console: Console, data: SeenData) -> None:
    """Show rows per label and part, lengths, what was found, and examples.

    Without what an earlier training step showed, examples are not rendered, and nothing is known of
    tokens.
    """
    look, view = data.look, data.view
    if look is None:
        console.print(f"data set {escape(data.name)}: {escape(data.unseen)}", highlight=False)
        return
    console.print(_counts(data.name, look))
    for note in look.notes:
        console.print(f"{escape(note)}", highlight=False)
    for finding in look.findings:
        mark = "[yellow]warning:[/] " if finding.warns else ""
        console.print(f"{mark}{escape(str(finding))}", highlight=False)
    if view is None:
        _print_lengths(console, "characters of a row", look.characters)
        console.print(escape(_not_rendered(data)), highlight=False)
    else:
        context = f", context {view.context}" if view.context is not None else ""
        some = f"; one row of {view.every} was counted" if view.every > 1 else ""
        title = f"tokens of a row (max_length {view.max_length}{context}{some})"
        _print_lengths(console, title, view.lengths)
    console.print(_samples("as rendered" if view is not None else "before rendering", data.samples))


def _not_rendered(data: SeenData) -> str:
    unknown = data.unknown or "nothing renders these rows"
    return "Lengths in tokens, and examples as the chat template writes them, are not known" + (
        ": training would refuse these rows." if data.refused else f" yet: {unknown}."
    )


def _counts(name: str, look: Look) -> WholeTable:
    table = WholeTable(f"data set {name}: rows")
    table.column("label" if look.labels else "")
    for part in look.rows:
        table.column(part, justify="right", wrap=False)
    for row in counts(look):
        table.row(escape(one_line(row.name)), *map(str, row.counts))
    return table


def _print_lengths(console: Console, title: str, lengths: Mapping[str, Lengths]) -> None:
    table = WholeTable(title)
    table.column("part", wrap=False)
    for column in ("p50", "p90", "p99", "longest"):
        table.column(column, justify="right", wrap=False)
    for part, found in lengths.items():
        table.row(part, *map(str, (found.p50, found.p90, found.p99, found.longest)))
    if lengths:
        console.print(table)


def _samples(how: str, samples: Sequence[Sample]) -> WholeTable:
    table = WholeTable(f"examples, {how}")
    table.column("row", wrap=False)
    table.column("", wrap=False)
    table.column("text")
    for sample in samples:
        for number, piece in enumerate(sample.pieces):
            text = escape(one_line(piece.text))
            table.row(
                sample.place if number == 0 else "",
                "[green]learnt[/]" if piece.learnt else "given",
                f"[green]{text}[/]" if piece.learnt else text,
            )
    return table
