"""``jobs``: list the jobs that this machine has started on systems and that are not over."""

from __future__ import annotations

from pathlib import Path

import click
from rich.markup import escape

from targets.cli import options
from targets.cli.json_output import print_json_result
from targets.console.whole_table import WholeTable
from targets.errors import EnvironmentUnable
from targets.systems.find import elsewhere_of
from targets.systems.job_notes import JobNote, JobNotes


@click.command("jobs")
@options.cache_option
@options.json_option
def command(cache: Path | None, as_json: bool) -> None:
    """Ask each system what has become of the jobs that builds with this cache have started.

    `attach` goes on with one, `cancel` ends it.
    """
    store = options.open_cache(cache)
    console = options.console(as_json)
    rows = [(note, *_state(note, store.root)) for note in JobNotes(store.root).all()]
    if as_json:
        jobs = [{**note.model_dump(), "state": state, "why": why} for note, state, why in rows]
        print_json_result({"jobs": jobs})
        return
    if not rows:
        console.print("no jobs: nothing that was started here runs elsewhere")
        return
    table = WholeTable("jobs")
    for column in ("id", "build", "system", "state", "started", "steps"):
        table.column(column)
    for note, state, why in rows:
        table.row(
            note.id,
            escape(note.build),
            escape(note.system),
            escape(f"{state}: {why}" if why else state),
            note.started,
            escape(", ".join(note.steps)),
        )
    console.print(table)


def _state(note: JobNote, cache: Path) -> tuple[str, str]:
    """Return the state of a job, and why it is not known."""
    if note.origin is None:
        return "unknown", "started through DOCKER_HOST or a context; the build asks after it"
    system = elsewhere_of(note.origin, cache).system
    try:
        return system.job(note.id).state().phase, ""
    except EnvironmentUnable as unable:
        return "unknown", str(unable)
    finally:
        system.close()
