"""``check``: run the checks of a built artifact on its device, from its folder alone."""

from __future__ import annotations

import time
from pathlib import Path

import click
from rich.console import Console

from targets.cli import options
from targets.cli.json_output import print_json_result
from targets.cli.running import runtime_starter, show_view
from targets.device_checks.checked_result import (
    FILE,
    merge_into_report,
    read_checked,
)
from targets.device_checks.parcel import unpack
from targets.device_checks.run_checks import (
    artifact_files,
    is_of_a_build_here,
    require_built_bytes,
    run_checks,
)
from targets.errors import CheckFailed, ConfigError, Problem
from targets.place import Place, place_of, require_devices
from targets.report.dist import read_report, require_onnx, write_checked
from targets.report.report_schema import Report
from targets.runtimes.platform import Choice, platform_for
from targets.target import Target, load_target
from targets.toolchain.platforms import this_machine
from targets.version import invocation


@click.command("check")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--target", metavar="NAME", help="Refuse an artifact of another target.")
@click.option(
    "--result",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Take in a checked.json made on another machine instead of running anything.",
)
@options.runtime_option
@options.cache_option
@options.require_verified_option
@options.verbose_option
@options.json_option
def command(
    folder: Path,
    target: str | None,
    result: Path | None,
    runtime: Choice,
    cache: Path | None,
    require_verified: bool,
    verbose: bool,
    as_json: bool,
) -> None:
    """Run the checks of FOLDER (dist/BUILD/TARGET), and nothing else, on this machine.

    Needs only that folder: copy it to the machine with the device. The result is written into it
    as checked.json. On the machine that built the artifact, --result takes that file into the
    report, where unverified becomes passed or failed.
    """
    folder = folder.absolute()
    require_onnx(read_report(folder), folder, "`check`")
    parcel = unpack(folder)
    if target is not None and target != parcel.target:
        problem = f"holds an artifact of {parcel.target}, not of {target}"
        advice = f"use `{invocation(f'check-{parcel.target}')}`"
        raise ConfigError([Problem(problem, folder, suggestion=advice)])
    store = options.open_cache(cache)
    console = options.console(as_json)
    started = time.monotonic()
    if result is not None:
        checked = read_checked(result)
        require_built_bytes(folder, parcel, artifact_files(folder, store))
        file = result
    else:
        place, runtime = _place(load_target(parcel.target), runtime)
        if require_verified:
            require_devices([place])
        with show_view(console) as view:
            start = runtime_starter(runtime, store.root, view, registry=options.registry_settings())
            checked = run_checks(folder, parcel, place, start, store, view)
        file = folder / FILE
    believed = is_of_a_build_here(parcel, checked.files, store)
    report = merge_into_report(read_report(folder), checked, file, believed)
    write_checked(folder, report, FILE, checked.model_dump_json(indent=2) + "\n")
    _show(folder, report, console, time.monotonic() - started, verbose, as_json)


def _place(target: Target, runtime: Choice) -> tuple[Place, Choice]:
    """Return where the checks run: where the device is, if any runtime reaches it.

    On Windows an engine's Linux containers have no DirectML, and this machine has.
    """
    platform = this_machine()
    if runtime == "auto" and platform != platform_for("docker") and platform in target.platforms:
        place = place_of(target, platform)
        if place.device.here:
            return place, "venv"
    return place_of(target, platform_for(runtime)), runtime


def _show(
    folder: Path, report: Report, console: Console, seconds: float, verbose: bool, as_json: bool
) -> None:
    from targets.console.print_summary import print_summary

    failure = None
    if report.status == "failed":
        failure = CheckFailed(f"a check failed for {report.target}", f"{folder / FILE} says which")
    if as_json:
        print_json_result({"builds": [report]}, failure)
        return
    print_summary(console, report, options.as_typed(folder), seconds, everything=verbose)
    if failure is not None:
        raise failure
