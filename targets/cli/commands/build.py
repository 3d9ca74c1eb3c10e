"""``build``: from a config to proven artifacts."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache as once
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.markup import escape

from targets.build import Builder, BuildOutcome, View
from targets.cli import options
from targets.errors import CheckFailed
from targets.place import require_devices
from targets.runtimes.runtime import Runtime

if TYPE_CHECKING:
    from targets.runtimes.platform import Choice


@click.command("build", short_help="Build the artifacts of a config.")
@options.config_options
@options.target_option
@options.config_runtime_option
@options.place_options
@options.require_verified_option
@options.json_option
def command(
    config: Path,
    targets: tuple[str, ...],
    host: str | None,
    data: dict[str, Path],
    model: str | None,
    system: str | None,
    runtime: Choice | None,
    cache: Path | None,
    dist: Path,
    require_verified: bool,
    as_json: bool,
) -> None:
    """Fine-tune, merge, quantize and prove: one artifact per target in dist/BUILD/TARGET."""
    wanted = options.Wanted(config, targets, host, data, model, runtime, system)
    requests = options.load_requests(wanted)
    options.require_system(requests)
    if require_verified:
        require_devices(place for request in requests for place in request.places)
    store = options.open_cache(cache)
    console = options.console(as_json)
    outcomes = []
    with show_view(console) as view:
        start = {
            choice: runtime_once(choice, store.root, view)
            for choice in {request.runtime for request in requests}
        }
        for request in requests:
            for place in request.places:
                started = time.monotonic()
                builder = Builder(
                    request.loaded, store, place, request.host, start[request.runtime], view
                )
                outcome = builder.build(dist.absolute())
                outcomes.append((outcome, time.monotonic() - started))
    _show(console, outcomes, as_json)
    failed = [outcome.report.target for outcome, _ in outcomes if outcome.report.status == "failed"]
    if failed:
        raise CheckFailed(
            f"a check failed for {', '.join(failed)}", "the report beside the artifact says which"
        )


def runtime_once(requested: Choice, cache_root: Path, view: View) -> Callable[[], Runtime]:
    """Return a function that chooses the runtime at its first call and keeps it."""

    @once
    def start() -> Runtime:
        # Imported late: an all-cached build needs no engine and should not pay for its client.
        from targets.runtimes.select import choose

        return choose(requested, cache_root, view.say)

    return start


def show_view(console: Console) -> AbstractContextManager[View]:
    """Return the view for ``console``: live on a terminal, else plain lines."""
    if console.is_terminal and not os.environ.get("CI"):
        from targets.console.live import LiveView

        return LiveView(console)
    from targets.console.plain import PlainView

    return nullcontext(PlainView(console))


def _show(console: Console, outcomes: list[tuple[BuildOutcome, float]], as_json: bool) -> None:
    from targets.console.summary import print_summary

    for outcome, seconds in outcomes:
        if as_json:
            click.echo(outcome.report.model_dump_json(indent=2))
        else:
            print_summary(console, outcome.report, options.shown(outcome.folder), seconds)
    unverified = [outcome for outcome, _ in outcomes if outcome.report.status == "unverified"]
    for outcome in unverified:
        if outcome.report.artifact != "onnx":
            continue  # its checks need no device
        target, folder = outcome.report.target, options.shown(outcome.folder)
        console.print(
            f"[yellow]{target} is unverified[/]: where its device is, run "
            f"`nox -s check-{target} -- {escape(str(folder))}`",
            highlight=False,
            soft_wrap=True,
        )
