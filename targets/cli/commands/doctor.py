"""``doctor``: can this machine build, and what to do where it cannot."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import click
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from targets.cli import options
from targets.doctor.examine import examine
from targets.doctor.finding import Finding, Machine, usable_runtimes
from targets.errors import EnvironmentUnable
from targets.runtimes.select import Decision
from targets.target import load_target, target_names

_MARKS = {"ok": "[green]✓[/]", "warning": "[yellow]![/]", "problem": "[red]✗[/]"}


@click.command("doctor", short_help="Check whether this machine can build, with remedies.")
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="NAME",
    help="Only what this target needs. Repeatable. Default: all.",
)
@options.place_options
@options.json_option
@click.pass_context
def command(
    context: click.Context, targets: tuple[str, ...], cache: Path | None, dist: Path, as_json: bool
) -> None:
    """Check engine, disk, memory, Python, CPU, GPU, wheels and hub access. Changes nothing.

    Ends with 0 if a build can run in a container or in a virtual environment, else with 4.
    """
    chosen = tuple(load_target(name) for name in dict.fromkeys(targets or target_names()))
    machine = Machine(options.open_cache(cache).root, dist.absolute(), chosen)
    findings = examine(machine)
    usable = usable_runtimes(findings)
    decisions = _decisions(machine)
    if as_json:
        report = {
            "runtimes": usable,
            "builds": {name: asdict(decision) for name, decision in decisions.items()},
            "findings": [asdict(finding) for finding in findings],
        }
        click.echo(json.dumps(report, indent=2))
    else:
        _show(options.console(as_json), findings, usable, decisions)
    if not usable:
        context.exit(EnvironmentUnable.exit_code)


def _decisions(machine: Machine) -> dict[str, Decision]:
    """Return where a build for each target runs."""
    toolchains = machine.toolchains
    return {one.target: machine.chooser.decide([one]) for one in toolchains}


def _show(
    console: Console,
    findings: tuple[Finding, ...],
    usable: tuple[str, ...],
    decisions: Mapping[str, Decision],
) -> None:
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
    if not usable:
        console.print("[red]No build can run on this machine.[/] The lines marked ✗ and ! say why.")
        return
    for line in _places(decisions, usable):
        console.print(escape(line), highlight=False)


def _places(decisions: Mapping[str, Decision], usable: tuple[str, ...]) -> Iterator[str]:
    """Yield where builds run: in one line if that is the same for all targets."""
    alike: dict[Decision, list[str]] = {}
    for name, decision in decisions.items():
        alike.setdefault(decision, []).append(name)
    for decision, names in alike.items():
        whose = "Builds" if len(alike) == 1 else f"Builds for {', '.join(names)}"
        blocked = decision.runtime is not None and decision.runtime not in usable
        other = f" What is marked ✗ stops them; `--runtime {usable[0]}` works." if blocked else ""
        yield f"{whose} run {decision}.{other}"
