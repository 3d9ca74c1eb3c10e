"""``doctor``: check whether this machine can build, and say what to do if it cannot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape

from targets.cli import options
from targets.cli.json_output import print_json_result
from targets.console.whole_table import WholeTable
from targets.doctor.examine import examine
from targets.doctor.finding import Finding, Machine, usable_runtimes
from targets.errors import EnvironmentUnable
from targets.systems.select import Decision
from targets.target import ALL, load_targets

_MARKS = {"ok": "[green]✓[/]", "warning": "[yellow]![/]", "problem": "[red]✗[/]"}


@click.command("doctor")
@options.target_option("Default: all, since it only looks.")
@options.config_option
@options.place_options
@options.json_option
def command(
    targets: tuple[str, ...], config: Path, cache: Path | None, dist: Path, as_json: bool
) -> None:
    """Check engine, disk, memory, Python, CPU, GPU, wheels and hub, and of a config its shared
    cache, registry and systems. Changes nothing.

    Ends with 0 if a build can run, else with 4: in a container or in a virtual environment here, or
    on the system that is the config's host.
    """
    chosen = load_targets(targets or (ALL,))
    shared = options.shared_cache_table(config)
    registry = options.registry_settings(config)
    systems, host = options.systems_of(config)
    places = (options.open_cache(cache).root, dist.absolute())
    machine = Machine(*places, chosen, shared, registry, systems, host)
    findings = examine(machine)
    usable = usable_runtimes(findings)
    decisions = _decisions(machine)
    failure = _failure(machine, usable, decisions)
    if as_json:
        print_json_result({"runtimes": usable, "builds": decisions, "findings": findings}, failure)
        return
    show(options.console(as_json), findings, usable, decisions)
    if failure is not None:
        raise click.exceptions.Exit(failure.exit_code)


def _decisions(machine: Machine) -> dict[str, Decision]:
    """Return the decision where a build runs, for each target."""
    found = machine.toolchains_on(machine.host) if machine.host else machine.toolchains
    return {one.target: machine.decide(one) for one in found}


def _failure(
    machine: Machine, usable: tuple[str, ...], decisions: Mapping[str, Decision]
) -> EnvironmentUnable | None:
    if not machine.host:
        return None if usable else EnvironmentUnable("no build can run on this machine")
    if all(decision.runtime is None for decision in decisions.values()):
        return EnvironmentUnable(f"no build can run on {machine.host}")
    return None


def show(
    console: Console,
    findings: tuple[Finding, ...],
    usable: tuple[str, ...],
    decisions: Mapping[str, Decision],
) -> None:
    """Show what was found, and where builds run."""
    table = WholeTable(show_header=False)
    table.column("", wrap=False)
    table.column("", wrap=False)
    table.column("")
    for finding in findings:
        text = escape(finding.message)
        if finding.remedy:
            text += f"\n[dim]→ {escape(finding.remedy)}[/]"
        table.row(_MARKS[finding.severity], escape(finding.check), text)
    console.print(table)
    if not usable and not any(decision.system for decision in decisions.values()):
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
        here = decision.runtime is not None and not decision.system
        blocked = here and decision.runtime not in usable
        other = f" What is marked ✗ stops them; `--runtime {usable[0]}` works." if blocked else ""
        yield f"{whose} run {decision}.{other}"
