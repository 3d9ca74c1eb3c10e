"""``clean``: make room in the cache."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path

import click

from pipeline.contract.schema import SharedCacheTable
from targets.cache import UnusedStep
from targets.cli import options
from targets.cli.echo import echo
from targets.cli.json_output import print_json_result
from targets.errors import EnvironmentUnable
from targets.figures import age, size
from targets.remote.failure import RemoteFailed, RemoteRefused
from targets.remote.store import Store
from targets.runtimes.killed_runs import remove_killed_runs
from targets.systems.left_outputs import LeftOutputs

_DAY_SECONDS = 24 * 60 * 60


@click.command("clean")
@click.option(
    "--older-than",
    "days",
    type=click.FloatRange(min=0),
    default=30,
    show_default=True,
    metavar="DAYS",
    help="Remove what no build and no plan has used for this many days.",
)
@click.option(
    "--remote",
    is_flag=True,
    help="Make room in the shared cache of the config: remove what was not used lately there.",
)
@options.config_option
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@options.cache_option
@options.json_option
def command(
    days: float, remote: bool, config: Path, dry_run: bool, cache: Path | None, as_json: bool
) -> None:
    """Remove results that no build has used lately, what hubs said of models, and what killed
    builds left.

    Artifacts in dist/ stay complete, and results that a running build uses stay. A build that needs
    a removed result makes it again. Wheels, environments and images stay.

    In a shared cache, a result is used when a build that pushes has it; it says so once a week.
    There, bytes that no result names any more stay for a week: a build may be on its
    way to name them.
    """
    if remote:
        _clean_shared(options.shared_cache_table(config), days, dry_run, as_json)
        return
    store = options.open_cache(cache)
    now = time.time()
    before = now - days * _DAY_SECONDS
    if not dry_run:
        remove_killed_runs(store.root)
        store.recover()
        store.remove_notes(before)
        LeftOutputs(store.root).remove(before)
    found = store.unused_since(before)
    unused = [step for step in found if dry_run or store.remove(step)]
    freed = sum(step.freed for step in unused)
    if as_json:
        names = [
            {
                "step": step.name,
                "key": step.key,
                "build": step.build,
                "bytes": step.freed,
                "unused_seconds": round(now - step.used),
            }
            for step in found
        ]
        removed = [name for name, step in zip(names, found, strict=True) if step in unused]
        print_json_result({"removed": [] if dry_run else removed, "found": names})
        return
    _show_by_build(unused, now)
    outcome = "would be removed" if dry_run else "removed"
    echo(f"{len(unused)} results {outcome} from {options.as_typed(store.root)}: {size(freed)}")
    if len(unused) < len(found):
        echo(f"{len(found) - len(unused)} results stay: builds that run now use them")


def _show_by_build(unused: Iterable[UnusedStep], now: float) -> None:
    """Show the results, those of one build beside each other, with how long nobody used them."""
    by_build: dict[str, list[UnusedStep]] = {}
    for step in unused:
        by_build.setdefault(step.build, []).append(step)
    for build, steps in by_build.items():
        freed = size(sum(step.freed for step in steps))
        results = "1 result" if len(steps) == 1 else f"{len(steps)} results"
        echo(f"{build or 'of builds that left no name'}: {results}, {freed}")
        for step in steps:
            unused_for = age(now - step.used)
            echo(
                f"  {step.name:<20} {step.key[:12]} {size(step.freed):>10}  unused for {unused_for}"
            )


def _clean_shared(
    table: SharedCacheTable | None, days: float, dry_run: bool, as_json: bool
) -> None:
    from targets.remote.background import in_background
    from targets.remote.clean import Room, find_room, remove

    if table is None:
        raise click.UsageError("the config has no [cache]: name one that has with --config")
    store = Store(table.remote)

    def find(unused: timedelta) -> Room:
        try:
            return find_room(store, unused, store.now())
        except RemoteRefused:  # only who may write can ask for its time
            if not dry_run:
                raise
            return find_room(store, unused, datetime.now(timezone.utc))

    try:
        (room,) = in_background(find, [timedelta(days=days)], 1)
        if not dry_run:
            in_background(partial(remove, store), [room], 1)
    except RemoteFailed as failed:
        raise EnvironmentUnable(str(failed), failed.advice) from None
    if as_json:
        paths = [stored.path for stored in (*room.results, *room.blobs)]
        print_json_result({"removed": [] if dry_run else paths, "found": paths})
        return
    outcome = "would be removed" if dry_run else "removed"
    echo(
        f"{len(room.results)} results and {len(room.blobs)} files {outcome} from {table.remote}: "
        f"{size(room.freed)}"
    )
