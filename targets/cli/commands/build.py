"""``build``: make proven artifacts of a config."""

from __future__ import annotations

import os
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape

from targets.atomic import replace_file
from targets.cli import options
from targets.cli.json_output import print_json_result
from targets.cli.remotes import elsewhere_of
from targets.cli.running import (
    Built,
    build_all,
    failure_of,
    runtime_starter,
    show_view,
)
from targets.place import require_devices
from targets.report.report_schema import Report
from targets.systems.detached import Detached
from targets.version import invocation

_STEP_SUMMARY = "GITHUB_STEP_SUMMARY"
"""Names the file of what GitHub shows on the page of a job.
https://docs.github.com/actions/reference/workflow-commands-for-github-actions"""


@click.command("build")
@options.build_options
@options.require_verified_option
@click.option(
    "--junit",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the checks as JUnit XML, which CI services show as tests.",
)
@click.option(
    "--detach",
    is_flag=True,
    help="Start the first job on the system, and do not wait: `attach` goes on with it.",
)
@options.verbose_option
@options.json_option
def command(
    choices: options.BuildChoices,
    cache: Path | None,
    dist: Path,
    require_verified: bool,
    junit: Path | None,
    detach: bool,
    verbose: bool,
    as_json: bool,
) -> None:
    """Fine-tune, merge, quantize and prove: one artifact per target in dist/BUILD/TARGET."""
    store = options.open_cache(cache)
    # A build that must be verified stops before it writes anything, its cache included.
    requests = options.load_requests(choices, cache=None if require_verified else store)
    if require_verified:
        require_devices(place for request in requests for place in request.places)
    console = options.console(as_json)
    again = (*choices.arguments(), "--cache", str(store.root), "--dist", str(dist.absolute()))
    built: list[Built] = []
    try:
        with show_view(console) as view:
            for request in requests:
                elsewhere = elsewhere_of(request, store.root, again, detach=detach)
                start = runtime_starter(
                    *(request.runtime, store.root, view, elsewhere, request.registry),
                    stays=request.stays,
                )
                built += build_all(request, store, dist.absolute(), start, view, elsewhere)
    except Detached as detached:
        console.print(
            f"{escape(str(detached))}; go on with `{invocation('attach', detached.job)}`",
            highlight=False,
            soft_wrap=True,
        )
        if as_json:
            print_json_result({"job": detached.job})
        return
    failure = failure_of(built)
    _tell_ci([one.outcome.report for one in built], junit)
    if as_json:
        print_json_result({"builds": [one.outcome.report for one in built]}, failure)
        return
    _show(console, built, verbose)
    if failure is not None:
        raise failure


def _tell_ci(reports: list[Report], junit: Path | None) -> None:
    """Write the results where a CI service finds them."""
    if junit is not None:
        from targets.report.junit import to_junit

        junit.parent.mkdir(parents=True, exist_ok=True)
        replace_file(junit, to_junit(reports))
    summary = os.environ.get(_STEP_SUMMARY)
    if summary:
        from targets.report.report_markdown import to_step_summary

        with Path(summary).open("a", encoding="utf-8") as page:
            page.writelines(map(to_step_summary, reports))


def _show(console: Console, built: list[Built], verbose: bool) -> None:
    from targets.console.print_summary import print_summary

    for one in built:
        folder = options.as_typed(one.outcome.folder)
        print_summary(console, one.outcome.report, folder, one.seconds, everything=verbose)
    for one in built:
        report, folder = one.outcome.report, options.as_typed(one.outcome.folder)
        # Checks of another kind of artifact need no device.
        if report.status == "unverified" and report.artifact == "onnx":
            console.print(
                f"[yellow]{report.target} is unverified[/]: where its device is, run "
                f"`{invocation(f'check-{report.target}', escape(str(folder)))}`",
                highlight=False,
                soft_wrap=True,
            )
