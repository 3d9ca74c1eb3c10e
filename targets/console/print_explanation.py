"""The table of ``plan --explain``: how every key of an Olive file is translated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.text import Text

from targets.config.olive.ledger import Entry, Ledger, State
from targets.config.source_map import KeyPath
from targets.console.whole_table import WholeTable

_STYLES = {
    State.HONOURED: "green",
    State.TRANSLATED: "cyan",
    State.NO_EFFECT: "dim",
    State.REFUSED: "red",
}


_VALUE = 40
"""Widest column of values, in cells: a list of many has several lines."""


def print_explanation(console: Console, ledger: Ledger) -> None:
    """Show each key with its state, then added defaults of Olive and Quern, then the counts.

    Keys are shown below their table, as in the file, because full paths would need too much width.
    """
    rows = list(_rows(ledger))
    table = WholeTable(whole_words=True)
    table.column("key", wrap=False)
    table.column("value", widest=_VALUE)
    table.column("what becomes of it")
    for row in rows:
        table.row(*row)
    if table.fits(console.width):
        console.print(table)
    else:
        _print_lines(console, rows)
    if ledger.defaults:
        _print_defaults(console, ledger.defaults)
    counts = Counter(entry.state for entry in ledger.entries)
    console.print(
        f"{len(ledger.entries)} keys: "
        + ", ".join(f"{counts[state]} {state.value}" for state in State if counts[state])
    )


def _print_defaults(console: Console, defaults: Mapping[str, str]) -> None:
    title, key_title, value_title = "what the file leaves open", "key of the Quern config", "value"
    table = WholeTable(title, whole_words=True)
    table.column(key_title)
    table.column(value_title)
    for key, value in defaults.items():
        table.row(escape(key), escape(value))
    if table.fits(console.width):
        console.print(table)
        return
    console.print(Text(title, style="table.title"))
    console.print(Text(f"{key_title}: {value_title}", style="dim"))
    for key, value in defaults.items():
        console.print(Text(f"{key}: {value}"))
    console.print()


def _rows(ledger: Ledger) -> Iterator[tuple[str, ...]]:
    """Yield key, value and what becomes of it of each entry, in Rich's markup, and before them the
    tables that they are in."""
    above: KeyPath = ()
    for entry in ledger.entries:
        for depth, part in enumerate(entry.path[:-1]):
            if entry.path[: depth + 1] != above[: depth + 1]:
                yield (f"[dim]{_indented(depth, part)}[/]",)
        above = entry.path[:-1]
        state = f"[{_STYLES[entry.state]}]{entry.state.value}[/]"
        note = _note(entry)
        yield (
            _indented(len(above), entry.path[-1] if entry.path else "the file"),
            escape(entry.value),
            f"{state}: {escape(note)}" if note else state,
        )


def _print_lines(console: Console, rows: Iterable[tuple[str, ...]]) -> None:
    """Show each key with its value in a line, and below it what becomes of it."""
    console.print("[dim]key: value\n    what becomes of it[/]", highlight=False)
    for key, *others in rows:
        value, becomes = others or ("", "")
        console.print(f"{key}: {value}" if value else key, highlight=False, emoji=False)
        if becomes:
            text = Text.from_markup(becomes, emoji=False)
            console.print(Padding(text, (0, 0, 0, len(key) - len(key.lstrip()) + 4)))


def explanation(ledger: Ledger) -> dict[str, object]:
    """Return the same as plain data, for ``--json``."""
    return {
        "keys": [
            {
                "key": entry.key,
                "value": entry.value,
                "state": entry.state.value,
                "note": entry.note,
                "suggestion": entry.suggestion,
            }
            for entry in ledger.entries
        ],
        "defaults": ledger.defaults,
    }


def _indented(depth: int, part: str | int) -> str:
    return "  " * depth + escape(f"[{part}]" if isinstance(part, int) else part)


def _note(entry: Entry) -> str:
    return f"{entry.note} ({entry.suggestion})" if entry.suggestion else entry.note
