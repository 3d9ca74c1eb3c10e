"""What differs between a release and its rebuild, file by file."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from rich.console import Console
from rich.markup import escape

from targets.release.differences.difference import Difference


def print_differences(console: Console, differences: Sequence[Difference]) -> None:
    """Show each file with what differs in it."""
    for file, group in groupby(differences, key=lambda one: one.file):
        console.print(f"[red]differs[/]  {_plain(file)}", highlight=False, soft_wrap=True)
        for one in group:
            location = f"[bold]{_plain(one.where)}[/]: " if one.where else ""
            console.print(f"  {location}{_plain(one.what)}", highlight=False, soft_wrap=True)


def _plain(text: str) -> str:
    """Return text of a file so that it can neither steer a terminal nor pass for markup."""
    shown = "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
        for letter in text
    )
    return escape(shown)
