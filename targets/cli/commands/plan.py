"""``plan``: show what a build would run, and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape

from pipeline.data.findings import Look
from targets.cache import Cache
from targets.cli import options
from targets.cli.json_output import print_json_result
from targets.cli.remotes import elsewhere_of, left_outputs, shared_cache
from targets.config.documents import read_documents
from targets.config.load import LoadedConfig
from targets.config.olive.ledger import Ledger
from targets.console.print_data import print_data
from targets.console.print_explanation import explanation, print_explanation
from targets.console.whole_table import WholeTable
from targets.disk import free_at
from targets.errors import InputRefused, QuernError
from targets.figures import duration, size
from targets.place import Place, places_by_name
from targets.planner.build_plan import BuildPlan, PlannedStep
from targets.planner.disk_space import Space, disk_space
from targets.planner.planner import Planner
from targets.rendered_rows import RenderedRows, rendered_rows
from targets.report.seen_data import SeenData, seen_data
from targets.systems.select import Chooser, Decision


@click.command("plan")
@options.build_options
@click.option(
    "--explain",
    is_flag=True,
    help="For a config of Microsoft Olive, show what becomes of each of its keys.",
)
@options.json_option
def command(
    choices: options.BuildChoices,
    cache: Path | None,
    dist: Path,  # noqa: ARG001 - accepted so that a build's options can be reused
    explain: bool,
    as_json: bool,
) -> None:
    """Print the steps of each target: cached, or the reason why they must run.

    Runs none of them. To show rows as a model would see them, its tokenizer reads them in the
    toolchain, if that is there. Rows that training would refuse are an error.
    """
    console = options.console(as_json)
    if explain and not as_json:
        _explain(console, choices)
    keys = _ledger(choices) if explain and as_json else None
    try:
        store = options.open_cache(cache)
        requests = options.load_requests(choices, cache=store)
        plans = list(_planned(requests, store, console))
    except QuernError as failure:
        if keys is None:
            raise
        print_json_result(explanation(keys), failure)
        return
    if as_json:
        seen = list(_seen(plans, store))
        print_json_result(
            {
                "plans": [_as_data(plan) for plan in plans],
                "data": [_data_as_data(data) for data in seen],
                **(explanation(keys) if keys else {}),
            },
            _refused(seen),
        )
        return
    for planned in plans:
        plan = planned.plan
        for note in plan.notes:
            console.print(f"[yellow]note:[/] {escape(note)}")
        console.print(table_of(plan))
        if planned.place is not None:
            console.print(
                f"Steps run {escape(str(planned.place))}.", highlight=False, soft_wrap=True
            )
            console.print(_room(disk_space(plan), store.root), soft_wrap=True)
    seen = []
    for data in _seen(plans, store):
        print_data(console, data)
        seen.append(data)
    refused = _refused(seen)
    if refused is not None:
        raise refused


@dataclass(frozen=True)
class _Planned:
    """A plan, and where its missing steps would run; ``None`` if there are none."""

    loaded: LoadedConfig
    plan: BuildPlan
    place: Decision | None
    training_place: Place
    chooser: Chooser


def _planned(
    requests: Iterable[options.Request], store: Cache, console: Console
) -> Iterator[_Planned]:
    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    for request in requests:
        elsewhere = elsewhere_of(request, store.root)
        chooser = Chooser(request.runtime, store.root, elsewhere, request.registry, request.stays)
        training = request.training_place
        shared = shared_cache(request, store, say)
        left = left_outputs(store, elsewhere)
        for place in request.places:
            planner = Planner(request.loaded, store, place, training, shared=shared, left=left)
            plan = planner.plan()
            names = {planned.step.target for planned in plan.missing}
            used = places_by_name(names, (training, place)).values()
            decision = chooser.decide([place.toolchain for place in used]) if used else None
            yield _Planned(request.loaded, plan, decision, training, chooser)


def _seen(plans: Iterable[_Planned], store: Cache) -> Iterator[SeenData]:
    """Look at the data set of each build, whose targets have the same."""
    builds: dict[str, list[_Planned]] = {}
    for planned in plans:
        builds.setdefault(planned.plan.build, []).append(planned)
    for some in builds.values():
        first = some[0]

        def render(look: Look, first: _Planned = first) -> RenderedRows:
            return rendered_rows(first.plan, look, first.training_place, first.chooser, store)

        data = seen_data(first.loaded, [planned.plan for planned in some], render)
        if data is not None:
            yield data


def _refused(seen: Iterable[SeenData]) -> InputRefused | None:
    """Return the error with which builds would end at their rows; ``None`` if none would."""
    errors = [data.refused for data in seen if data.refused is not None]
    if len(errors) < 2:
        return next(iter(errors), None)
    hints = dict.fromkeys(error.hint for error in errors if error.hint)
    return InputRefused("; ".join(dict.fromkeys(map(str, errors))), "; ".join(hints))


def _data_as_data(data: SeenData) -> dict[str, object]:
    return {
        "build": data.build,
        "name": data.name,
        **(data.look.model_dump() if data.look is not None else {"unseen": data.unseen}),
        "lengths": None if data.view is None else data.view.lengths,
        "max_length": None if data.view is None else data.view.max_length,
        "context": None if data.view is None else data.view.context,
        "every": None if data.view is None else data.view.every,
        "unknown": data.unknown,
        "refused": "" if data.refused is None else str(data.refused),
        "samples": data.samples,
    }


def _ledger(choices: options.BuildChoices) -> Ledger | None:
    return read_documents(options.as_typed(choices.config), choices.system)[0].ledger


def _explain(console: Console, choices: options.BuildChoices) -> None:
    ledger = _ledger(choices)
    if ledger is None:
        console.print(
            "a TOML config: each key is Quern's own, and one it does not know is an error"
        )
    else:
        print_explanation(console, ledger)


def table_of(plan: BuildPlan) -> WholeTable:
    """Return the steps of a plan, each with the reason why it must run."""
    table = WholeTable(
        f"{plan.build} for {plan.target}: {len(plan.missing)} of {len(plan.steps)} to run"
    )
    for column in ("step", "type", "runs", "why", "key"):
        table.column(column)
    for planned in plan.steps:
        cached = planned.cached
        table.row(
            planned.step.name,
            planned.step.type,
            _runs(planned, plan),
            f"took {duration(cached.result.seconds)}" if cached else escape(planned.reason),
            planned.step.key[:12],
        )
    return table


def _runs(planned: PlannedStep, plan: BuildPlan) -> str:
    if planned.cached is not None:
        return f"[cyan]{escape(planned.reason)}[/]"
    return f"[bold]yes[/] ({planned.step.target})" if planned in plan.missing else "no"


def _room(space: Space, cache: Path) -> str:
    """Return the disk space that the missing steps need, and the free space, in words."""
    unknown = f", and what {', '.join(space.unknown)} will write" if space.unknown else ""
    folder = escape(str(options.as_typed(cache)))
    return (
        f"Results will take {size(space.kept)}, up to {size(space.most)} while they are made"
        f"{unknown}; "
        f"{size(free_at(cache))} are free at {folder}.\n"
    )


def _as_data(target: _Planned) -> dict[str, object]:
    plan = target.plan
    return {
        "build": plan.build,
        "target": plan.target,
        "artifact": {"step": plan.artifact, "kind": plan.artifact_kind},
        "notes": plan.notes,
        "disk": disk_space(plan),
        "runs": target.place,
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
