"""``cancel``: end a job that runs on a system, and remove what it left there."""

from __future__ import annotations

from pathlib import Path

import click

from targets.cli import options
from targets.systems.find import elsewhere_of
from targets.systems.job_notes import JobNotes


@click.command("cancel")
@click.argument("job", metavar="ID")
@options.cache_option
def command(job: str, cache: Path | None) -> None:
    """End the job ID, remove what it left there, and return when that is so.

    What it sent to this machine stays: steps that were fetched are not run again.
    """
    store = options.open_cache(cache)
    notes = JobNotes(store.root)
    note, origin = notes.started(job)
    system = elsewhere_of(origin, store.root).system
    try:
        system.job(note.id).cancel()
    finally:
        system.close()
    notes.remove(note.id)
    options.console(as_json=False).print(
        f"{note.id} is over, and nothing of it is left on {origin.system}", highlight=False
    )
