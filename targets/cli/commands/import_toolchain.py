"""``import-toolchain``: take in the toolchains that another machine exported."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.markup import escape

from targets.cli import options
from targets.cli.json_output import print_json_result
from targets.errors import EnvironmentUnable
from targets.target import load_target

if TYPE_CHECKING:
    from docker import DockerClient

    from targets.toolchain.toolchain import Toolchain
    from targets.transfer.import_bundle import ImportResult
    from targets.transfer.progress import Say


@click.command("import-toolchain")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@options.cache_option
@options.json_option
def command(file: Path, cache: Path | None, as_json: bool) -> None:
    """Put the wheels of FILE into the cache and its images into the engine, if one answers.

    All of FILE is checked first, against itself and against the locks of this checkout: a file that
    is damaged or for another checkout changes nothing.
    """
    from targets.runtimes.heartbeat import while_answering
    from targets.runtimes.interrupts import interruptible
    from targets.runtimes.platform import platform_for
    from targets.transfer.import_bundle import import_bundle

    console = options.console(as_json)

    def say(message: str) -> None:
        console.print(escape(message), highlight=False, soft_wrap=True)

    platform = platform_for("auto")

    def toolchain_of(name: str) -> Toolchain:
        return load_target(name).toolchain(platform)

    with interruptible():
        root = options.open_cache(cache).root
        client = _engine(say)
        with while_answering(client):
            taken = import_bundle(file, platform, toolchain_of, client, root, say)
    _show(taken, say)
    if as_json:
        print_json_result(asdict(taken))


def _engine(say: Say) -> DockerClient | None:
    from targets.toolchain.engine import connect
    from targets.toolchain.platforms import builds_without_engine

    try:
        return connect()
    except EnvironmentUnable as error:
        then = "; builds use a virtual environment" if builds_without_engine() else ""
        say(f"{error}: taking in the wheels alone{then}")
        return None


def _show(taken: ImportResult, say: Say) -> None:
    from targets.transfer.progress import gigabytes

    had = "all here already" if not taken.new_wheels else f"{taken.new_wheels} new"
    say(f"{taken.wheels} wheels, {gigabytes(taken.wheel_bytes)}: {had}, in {taken.folder}")
    for image in taken.images:
        became = {
            "loaded": f"loaded into the engine as {image.tag}",
            "present": f"here already as {image.tag}",
            "left": "left in the file: there is no engine",
        }[image.status]
        say(f"{image.member}, {gigabytes(image.bytes)}: {became}")
    if not taken.new_wheels and all(image.status == "present" for image in taken.images):
        say("nothing to do: everything is here")
