"""``doctor``: check whether this machine can build, and say what to do where it cannot."""

from __future__ import annotations

from pathlib import Path

import click
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from targets.cli import options
from targets.cli.answer import answer
from targets.doctor.examine import examine
from targets.doctor.finding import Finding, Machine, usable_runtimes
from targets.errors import EnvironmentUnable
from targets.target import ALL, load_targets

_MARKS = {"ok": "[green]✓[/]", "warning": "[yellow]![/]", "problem": "[red]✗[/]"}


@click.command("doctor", short_help="Check whether this machine can build, with remedies.")
@options.target_option("Default: all, since it only looks.")
@options.place_options
@options.json_option
def command(targets: tuple[str, ...], cache: Path | None, dist: Path, as_json: bool) -> None:
    """Check engine, disk, memory, Python, CPU, GPU, wheels and hub access. Changes nothing.

    Ends with 0 if a build can run in a container or in a virtual environment, else with 4.
    """
    chosen = load_targets(targets or (ALL,))
    machine = Machine(options.open_cache(cache).root, dist.absolute(), chosen)
    findings = examine(machine)
    usable = usable_runtimes(findings)
    failure = None if usable else EnvironmentUnable("no build can run on this machine")
    if as_json:
        answer({"runtimes": usable, "findings": findings}, failure)
        return
    _show(options.console(as_json), findings, usable)
    if failure is not None:
        raise click.exceptions.Exit(failure.exit_code)


def _show(console: Console, findings: tuple[Finding, ...], usable: tuple[str, ...]) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_header=False)
    table.add_column(width=1)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        text = escape(finding.message)
        if finding.remedy:
            text += f"\n[dim]→ {escape(finding.remedy)}[/]"
        table.add_row(_MARKS[finding.severity], finding.check, text)
    console.print(table)
    if usable:
        names = {"docker": "containers", "venv": "a virtual environment"}
        console.print(f"Builds can run in {' or in '.join(names[name] for name in usable)}.")
    else:
        console.print("[red]No build can run on this machine.[/] The lines marked ✗ and ! say why.")
