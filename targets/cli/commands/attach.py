"""``attach``: go on with a job that was started elsewhere, to its end and that of its build."""

from __future__ import annotations

import os
from pathlib import Path

import click

from targets.cli import options
from targets.cli.commands import build
from targets.systems.job_notes import JobNotes


@click.command("attach")
@click.argument("job", metavar="ID")
@options.cache_option
@click.pass_context
def command(context: click.Context, job: str, cache: Path | None) -> None:
    """Run the build again that started the job ID: it finds the job, shows what it did meanwhile,
    fetches what it made, and does what is left.

    Ctrl-C ends the job.
    """
    _, origin = JobNotes(options.open_cache(cache).root).started(job)
    os.chdir(origin.folder)
    with build.command.make_context("build", [*origin.arguments], parent=context.parent) as again:
        build.command.invoke(again)
