"""``compare``: show what differs between two builds, and what came of it."""

from __future__ import annotations

from pathlib import Path

import click

from targets.cli import options
from targets.cli.json_output import print_json_result


@click.command("compare")
@click.argument("first", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("second", type=click.Path(path_type=Path, exists=True, file_okay=False))
@options.json_option
def command(first: Path, second: Path, as_json: bool) -> None:
    """Compare the builds in the folders FIRST and SECOND, as dist/tone/cpu.

    Shows which parameters, data, model, versions and keys differ; quality, loss, latency and size
    of both; and the checks that ended differently. Times are of the machines that built.
    """
    from targets.report.compare_reports import causes, results, verdicts
    from targets.report.find_reports import report_in

    one, other = (report_in(folder).report for folder in (first, second))
    parts = [
        ("what they were made from", causes(one, other)),
        ("what came of it", results(one, other)),
        ("checks that ended differently", verdicts(one, other)),
    ]
    if as_json:
        names = ("causes", "results", "checks")
        print_json_result({name: rows for name, (_, rows) in zip(names, parts, strict=True)})
        return
    from targets.console.print_builds import print_comparison

    console = options.console(as_json)
    if not parts[0][1]:
        console.print("Both were made from the same.")
    print_comparison(console, [options.as_typed(first), options.as_typed(second)], parts)
