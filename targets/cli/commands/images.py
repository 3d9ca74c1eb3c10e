"""``images``: make the toolchains ready, without building a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.markup import escape

from targets.cli import options
from targets.cli.answer import answer
from targets.target import DEFAULT_TARGET, load_targets

if TYPE_CHECKING:
    from targets.runtimes.platform import Choice


@click.command("images", short_help="Make the toolchains ready without building a model.")
@options.target_option("Default: cpu.")
@options.runtime_option
@options.cache_option
@options.json_option
def command(targets: tuple[str, ...], runtime: Choice, cache: Path | None, as_json: bool) -> None:
    """Fetch the wheels and make the image or the virtual environment of each target.

    The next build then starts at once, and needs no network but for models of a hub.
    """
    from targets.runtimes.platform import platform_for
    from targets.runtimes.select import choose

    chosen = load_targets(targets or (DEFAULT_TARGET,))
    console = options.console(as_json)

    def say(message: str) -> None:
        console.print(escape(message), highlight=False, soft_wrap=True)

    platform = platform_for(runtime)
    toolchains = {target.name: target.toolchain(platform) for target in chosen}
    brought_up = choose(runtime, options.open_cache(cache).root, say)
    records = {}
    for name, toolchain in toolchains.items():
        record = brought_up.prepare(toolchain, say)
        records[name] = record
        where = record.image or ", ".join(f"{k} {v}" for k, v in (record.details or {}).items())
        say(f"{name}: ready, {record.runtime} {where}")
    if as_json:
        answer({"toolchains": records})
