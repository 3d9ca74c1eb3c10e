"""``images``: make the toolchains ready, without building a model."""

from __future__ import annotations

from pathlib import Path

import click
from rich.markup import escape

from targets.cli import options
from targets.cli.json_output import print_json_result
from targets.runtimes.platform import Choice, platform_for
from targets.systems.select import Chooser
from targets.target import DEFAULT_TARGET, load_targets


@click.command("images", short_help="Make the toolchains ready without building a model.")
@options.target_option("Default: cpu.")
@options.runtime_option
@options.cache_option
@options.json_option
def command(targets: tuple[str, ...], runtime: Choice, cache: Path | None, as_json: bool) -> None:
    """Fetch the wheels and make the image or the virtual environment of each target.

    The next build then starts at once, and needs no network but for models of a hub.
    """
    chosen = load_targets(targets or (DEFAULT_TARGET,))
    console = options.console(as_json)

    def say(message: str) -> None:
        console.print(escape(message), highlight=False, soft_wrap=True)

    platform = platform_for(runtime)
    toolchains = {target.name: target.toolchain(platform) for target in chosen}
    chooser = Chooser(runtime, options.open_cache(cache).root)
    started = chooser.start(list(toolchains.values()), say)
    records = {}
    for name, toolchain in toolchains.items():
        record = started.prepare(toolchain, say)
        records[name] = record
        location = record.image or ", ".join(f"{k} {v}" for k, v in (record.details or {}).items())
        say(f"{name}: ready, {record.runtime} {location}")
    if as_json:
        print_json_result({"toolchains": records})
