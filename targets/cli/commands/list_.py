"""``list``: show the builds in the output folder, with status and figures."""

from __future__ import annotations

from pathlib import Path

import click

from targets.cli import options
from targets.cli.json_output import print_json_result
from targets.errors import ConfigError


@click.command("list")
@options.dist_option
@options.json_option
def command(dist: Path, as_json: bool) -> None:
    """Show every build in dist/, the newest first: status, share of right answers, time per token
    and size of its artifact.

    Ends with 2 if a report cannot be read.
    """
    from targets.report.find_reports import find_reports

    found, problems = find_reports(dist)
    failure = ConfigError(problems) if problems else None
    if as_json:
        builds = [
            {"folder": str(one.folder), "written": one.written, "report": one.report}
            for one in found
        ]
        print_json_result({"builds": builds}, failure)
        return
    console = options.console(as_json)
    if found:
        from targets.console.print_builds import print_builds

        print_builds(console, found)
    elif not problems:
        console.print(f"no builds in {options.as_typed(dist)}", markup=False)
    if failure is not None:
        raise failure
