"""Shows plain lines, and never obeys what stands in them."""

from __future__ import annotations

import sys

import click

from targets.console.ascii_symbols import in_ascii, takes_ascii_only
from targets.foreign_text import harmless, visible


def echo(text: str, err: bool = False) -> None:
    """Show ``text`` on standard output, or on standard error."""
    shown = harmless(text)
    stream = sys.stderr if err else sys.stdout
    click.echo(in_ascii(shown) if takes_ascii_only(stream) else shown, err=err)


def echo_error(message: str, hint: str) -> None:
    """Show an error and what to do about it. Lines after the first are indented: they may not be
    taken for lines of Quern's own."""
    shown = harmless(message).replace("\n", "\n  ")
    click.echo(f"{click.style('error:', fg='red')} {shown}", err=True)
    if hint:
        echo(f"  → {hint}".replace("\n", "\n    "), err=True)


def echo_command(line: str) -> None:
    """Show on standard error a line that a CI service obeys, in which
    :mod:`targets.console.ci_service` has escaped what others wrote."""
    click.echo(visible(line), err=True)
