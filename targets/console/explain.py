"""The table of ``plan --explain``: what becomes of every key of an Olive file."""

from __future__ import annotations

from collections import Counter

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from targets.config.olive.ledger import Entry, Ledger, State

_STYLES = {
    State.HONOURED: "green",
    State.TRANSLATED: "cyan",
    State.NO_EFFECT: "dim",
    State.REFUSED: "red",
}


def print_explanation(console: Console, ledger: Ledger) -> None:
    """Show each key with its state, then what Olive's defaults and Quern add, then the counts."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("key", overflow="fold")
    table.add_column("value", overflow="fold")
    table.add_column("state", no_wrap=True)
    table.add_column("becomes, or why not", overflow="fold")
    for entry in ledger.entries:
        style = _STYLES[entry.state]
        table.add_row(
            escape(entry.key),
            escape(entry.value),
            f"[{style}]{entry.state.value}[/]",
            escape(_note(entry)),
        )
    console.print(table)
    if ledger.defaults:
        rest = Table(
            title="what the file leaves open",
            title_justify="left",
            box=box.SIMPLE_HEAD,
            pad_edge=False,
        )
        rest.add_column("key of the Quern config", overflow="fold")
        rest.add_column("value", overflow="fold")
        for key, value in ledger.defaults.items():
            rest.add_row(escape(key), escape(value))
        console.print(rest)
    counts = Counter(entry.state for entry in ledger.entries)
    console.print(
        f"{len(ledger.entries)} keys: "
        + ", ".join(f"{counts[state]} {state.value}" for state in State if counts[state])
    )


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


def _note(entry: Entry) -> str:
    return f"{entry.note} ({entry.suggestion})" if entry.suggestion else entry.note
