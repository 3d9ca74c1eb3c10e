"""``images``: make the toolchains ready, without building a model."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.markup import escape

from targets.cli import options
from targets.cli.commands.release import PASSWORD
from targets.cli.json_output import print_json_result
from targets.errors import ConfigError, EnvironmentUnable, Problem
from targets.remote.shared_cache import SIGN_KEY
from targets.runtimes.platform import Choice, platform_for
from targets.systems.select import Chooser
from targets.target import DEFAULT_TARGET, load_targets
from targets.toolchain.registry.settings import RegistrySettings
from targets.toolchain.toolchain import Toolchain

if TYPE_CHECKING:
    from securesystemslib.signer import Signer


@click.command("images")
@options.target_option("Default: cpu.")
@options.config_option
@click.option("--push", is_flag=True, help="Bring the images to the registry of the config.")
@click.option(
    "--sign-key",
    type=click.Path(path_type=Path),
    metavar="FILE",
    envvar=SIGN_KEY,
    help=f"With --push, sign with this private key (PEM). {PASSWORD} is the password of an "
    "encrypted one.",
)
@options.runtime_option
@options.cache_option
@options.json_option
def command(
    targets: tuple[str, ...],
    config: Path,
    push: bool,
    sign_key: Path | None,
    runtime: Choice,
    cache: Path | None,
    as_json: bool,
) -> None:
    """Fetch the wheels and make the image or the virtual environment of each target, or pull the
    image from the registry of the config.

    The next build then starts at once, and needs no network but for models of a hub.
    """
    chosen = load_targets(targets or (DEFAULT_TARGET,))
    console = options.console(as_json)

    def say(message: str) -> None:
        console.print(escape(message), highlight=False, soft_wrap=True)

    registry = options.registry_settings(config)
    signer = _signer(registry, sign_key) if push else None
    if push:
        runtime = _docker(runtime)
    platform = platform_for(runtime)
    toolchains = {target.name: target.toolchain(platform) for target in chosen}
    chooser = Chooser(runtime, options.open_cache(cache).root, registry=registry)
    started = chooser.start(list(toolchains.values()), say)
    records = {}
    for name, toolchain in toolchains.items():
        record = started.prepare(toolchain, say)
        records[name] = record
        location = record.image or ", ".join(f"{k} {v}" for k, v in (record.details or {}).items())
        say(f"{name}: ready, {record.runtime} {location}")
    pushed = _push(chooser, toolchains, signer, say) if push else {}
    if as_json:
        print_json_result({"toolchains": records, **({"pushed": pushed} if push else {})})


def _docker(runtime: Choice) -> Choice:
    if runtime == "venv":
        problem = "a virtual environment is no image"
        raise ConfigError([Problem(problem, key="--push", suggestion="leave out --runtime venv")])
    return "docker"


def _signer(registry: RegistrySettings | None, key: Path | None) -> Signer | None:
    """Return who signs what is pushed to ``registry``; ``None`` if nobody has to.

    Raises ``ConfigError`` if there is no registry, or others would not use what is signed so.
    """
    if registry is None:
        problem = "there is no registry to push to"
        advice = f"set registry in [toolchain] of the config, or {options.REGISTRY}"
        raise ConfigError([Problem(problem, key="--push", suggestion=advice)])
    if key is None and registry.trust:
        problem = "the config trusts signed images only: nobody would use what is pushed"
        advice = f"give the private key with --sign-key, or its file as {SIGN_KEY}"
        raise ConfigError([Problem(problem, key="--push", suggestion=advice)])
    if key is None:
        return None
    from targets.signatures.signing import require_trusted, signer_of_file, trusted_file

    signer = signer_of_file(key.expanduser(), os.environ.get(PASSWORD))
    if registry.trust:
        require_trusted(signer, map(trusted_file, registry.trust), key, "--sign-key")
    return signer


def _push(
    chooser: Chooser,
    toolchains: Mapping[str, Toolchain],
    signer: Signer | None,
    say: Callable[[str], None],
) -> Mapping[str, str]:
    """Push the image of each target; return the digests that the registry has then."""
    from targets.runtimes.heartbeat import while_answering
    from targets.runtimes.interrupts import interruptible
    from targets.toolchain.image import expected_image
    from targets.toolchain.registry.exchange import RegistryFailed

    containers = chooser.containers()
    digests = {}
    for name, toolchain in toolchains.items():
        image, registry = containers.find(toolchain), containers.registry
        if image is None or registry is None:
            raise EnvironmentUnable(f"the image of {name} is gone", "run it again")
        try:
            with interruptible(), while_answering(containers.client):
                digest, new = registry.push(
                    containers.client, image.id, expected_image(toolchain), signer, say
                )
        except RegistryFailed as failed:
            raise EnvironmentUnable(
                f"the image of {name} cannot be pushed to {registry.address}: {failed}",
                failed.advice,
            ) from failed
        digests[name] = digest
        say(f"{name}: {'pushed' if new else 'there already'}, {registry.address}@{digest}")
    return digests
