"""``export-toolchain``: write toolchains to one file, for a machine with no network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.markup import escape

from targets.cli import options
from targets.cli.json_output import print_json_result
from targets.target import DEFAULT_TARGET, load_targets

if TYPE_CHECKING:
    from docker import DockerClient

    from targets.runtimes.platform import Choice
    from targets.toolchain.toolchain import Toolchain
    from targets.transfer.progress import Say


@click.command("export-toolchain")
@options.target_option("Default: cpu.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    metavar="FILE",
    help="Where to write it (default: dist/toolchain-TARGETS-PLATFORM.tar).",
)
@options.runtime_option
@options.cache_option
@options.json_option
def command(
    targets: tuple[str, ...],
    output: Path | None,
    runtime: Choice,
    cache: Path | None,
    as_json: bool,
) -> None:
    """Write the wheels, the images and Quern's own packages to one tar.

    What is not here yet is fetched and built first. `import-toolchain` takes the file in, on a
    machine of the same platform and with the same commit of this project. `--runtime venv` leaves
    the images out.
    """
    from targets.runtimes.heartbeat import while_answering
    from targets.runtimes.interrupts import interruptible
    from targets.runtimes.platform import platform_for
    from targets.transfer.bundle import file_name
    from targets.transfer.export_bundle import export_bundle
    from targets.transfer.progress import gigabytes

    console = options.console(as_json)

    def say(message: str) -> None:
        console.print(escape(message), highlight=False, soft_wrap=True)

    platform = platform_for(runtime)
    chosen = load_targets(targets or (DEFAULT_TARGET,))
    toolchains = [target.toolchain(platform) for target in chosen]
    file = output or Path("dist") / file_name(toolchains)
    with interruptible():
        root = options.open_cache(cache).root
        client = _engine(runtime, toolchains, root, say)
        with while_answering(client):
            manifest = export_bundle(toolchains, client, root, file, say)
    size = file.stat().st_size
    say(
        f"{file}: {gigabytes(size)}, {len(manifest.below('wheels/'))} wheels, "
        f"{len(manifest.images)} images, Quern's own packages for Python {manifest.python}"
    )
    if as_json:
        print_json_result({"file": file, "bytes": size, "manifest": manifest})


def _engine(
    runtime: Choice, toolchains: list[Toolchain], cache: Path, say: Say
) -> DockerClient | None:
    """Return the engine whose images are written; ``None`` for wheels alone."""
    from targets.runtimes.docker import DockerRuntime
    from targets.systems.select import HERE, Chooser

    chosen = Chooser(runtime, cache, stays=HERE).start(toolchains, say)
    if isinstance(chosen, DockerRuntime):
        return chosen.client
    if runtime == "auto":
        say("so no images are written")
    return None
