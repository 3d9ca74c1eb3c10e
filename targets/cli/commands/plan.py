"""``plan``: what a build would run, and why."""

from __future__ import annotations

from pathlib import Path

import click
from rich import box
from rich.markup import escape
from rich.table import Table

from targets.cli import options
from targets.planner.build_plan import BuildPlan
from targets.planner.planner import Planner
from targets.report.figures import duration
from targets.runtimes.platform import Choice


@click.command("plan", short_help="Show what a build would run, and why.")
@options.config_options
@options.target_option
@options.runtime_option
@options.place_options
@options.json_option
def command(
    config: Path,
    targets: tuple[str, ...],
    host: str | None,
    data: dict[str, Path],
    model: str | None,
    runtime: Choice,
    cache: Path | None,
    dist: Path,  # noqa: ARG001 - accepted so that a build's options can be reused
    as_json: bool,
) -> None:
    """Print the steps of each target: cached, or the reason why they must run. Runs nothing."""
    request = options.load_request(config, targets, host, data, model, runtime)
    store = options.open_cache(cache)
    plans = [Planner(request.loaded, store, place, request.host).plan() for place in request.places]
    if as_json:
        click.echo(_to_json(plans))
        return
    console = options.console(as_json)
    for plan in plans:
        for note in plan.notes:
            console.print(f"[yellow]note:[/] {escape(note)}")
        console.print(_table(plan))


def _table(plan: BuildPlan) -> Table:
    table = Table(
        title=f"{plan.build} for {plan.target}: {len(plan.missing)} of {len(plan.steps)} to run",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for column in ("step", "type", "runs", "why", "key"):
        table.add_column(column)
    for planned in plan.steps:
        cached = planned.cached
        table.add_row(
            planned.step.name,
            planned.step.type,
            "[cyan]cached[/]" if cached else f"[bold]yes[/] ({planned.step.target})",
            f"took {duration(cached.result.seconds)}" if cached else escape(planned.reason),
            planned.step.key[:12],
        )
    return table


def _to_json(plans: list[BuildPlan]) -> str:
    import json

    return json.dumps(
        [
            {
                "build": plan.build,
                "target": plan.target,
                "artifact": {"step": plan.artifact, "kind": plan.artifact_kind},
                "notes": plan.notes,
                "steps": [
                    {
                        "name": planned.step.name,
                        "type": planned.step.type,
                        "kind": planned.step.kind,
                        "target": planned.step.target,
                        "key": planned.step.key,
                        "cached": planned.cached is not None,
                        "reason": planned.reason,
                        "params": planned.step.params,
                    }
                    for planned in plan.steps
                ],
            }
            for plan in plans
        ],
        indent=2,
    )
