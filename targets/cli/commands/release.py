"""``release``: make what can be shipped and audited."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from targets.cli import options
from targets.cli.json_output import print_json_result
from targets.cli.running import runtime_starter, show_view
from targets.errors import EnvironmentUnable

if TYPE_CHECKING:
    from securesystemslib.signer import Signer

    from targets.release.releaser import Released
    from targets.runtimes.runtime import RuntimeName

REQUIREMENTS = "requirements-release.lock"
PASSWORD = "QUERN_SIGN_PASSWORD"  # noqa: S105 - the name of the variable
LIBRARIES = ("cryptography", "cyclonedx", "onnx", "safetensors", "securesystemslib")


@click.command("release")
@options.build_options
@click.option("--version", required=True, metavar="VERSION", help="Version, such as 1.2.0.")
@click.option(
    "--allow-unverified",
    is_flag=True,
    help="Release what its device has not verified. Model card and provenance say so.",
)
@click.option(
    "--allow-dirty",
    is_flag=True,
    help="Release from sources with changes that are in no commit. The provenance says so.",
)
@click.option(
    "--from-adapter",
    "trained_outputs",
    type=click.Path(path_type=Path, exists=True),
    metavar="PATH",
    help="Train nothing: take what was trained from a release, its adapter archive, or a PEFT "
    "adapter folder.",
)
@click.option(
    "--sign-key",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=f"Sign with this private key (PEM). {PASSWORD} is the password of an encrypted one.",
)
@options.identity_options("Sign through sigstore, as")
@options.json_option
def command(
    choices: options.BuildChoices,
    cache: Path | None,
    dist: Path,
    version: str,
    allow_unverified: bool,
    allow_dirty: bool,
    trained_outputs: Path | None,
    sign_key: Path | None,
    identity: str | None,
    issuer: str | None,
    as_json: bool,
) -> None:
    """Build what is missing and write dist/BUILD/release/VERSION: an archive per target with model,
    report and model card, one of what was trained, an SBOM, and the provenance.

    The same sources give the same bytes, on another machine as well; `verify` proves it. Everything
    is made in containers, unless --runtime venv says otherwise; results in the cache that a virtual
    environment made are made again.
    """
    require_libraries("release")
    from targets.release.layout import require_version
    from targets.release.provenance import ReleaseRequest
    from targets.release.release_builder import ReleaseBuilder
    from targets.release.releaser import ReleaseOptions, Releaser

    require_version(version)
    signer = _signer(sign_key, identity, issuer)
    store = options.open_cache(cache)
    requests = options.load_requests(choices, cache=store)
    options.require_here(requests, "release")
    release_options = ReleaseOptions(
        version=version,
        request=ReleaseRequest(allow_unverified, allow_dirty, overrides=_overrides(choices)),
        trained_outputs=None if trained_outputs is None else trained_outputs.absolute(),
        signer=signer,
    )
    console = options.console(as_json)
    releases = []
    with show_view(console) as view:
        for request in requests:
            runtime: RuntimeName = "venv" if request.runtime == "venv" else "docker"
            start = runtime_starter(runtime, store.root, view, registry=request.registry)
            builder = ReleaseBuilder(
                request.loaded, request.places, request.training_place, store, start, view, runtime
            )
            releases.append(Releaser(builder, dist.absolute()).release(release_options))
    _show(releases, as_json)


def require_libraries(doing: str) -> None:
    """Raise ``EnvironmentUnable`` that names missing libraries, which only releases need."""
    missing = [name for name in LIBRARIES if find_spec(name) is None]
    if missing:
        raise EnvironmentUnable(
            f"{doing} needs {', '.join(missing)}, which this Python does not have",
            f"run `nox -s {doing}`, or `pip install --require-hashes -r {REQUIREMENTS}`",
        )


def _signer(key: Path | None, identity: str | None, issuer: str | None) -> Signer | None:
    """Return the signer, ``None`` if the release is not signed.

    Asked for before any work, because a key can be missing or its password wrong.
    """
    from targets.signatures.signing import signer_of_file, sigstore_signer

    options.require_identity(identity, issuer, key, "--sign-key")
    if key is not None:
        return signer_of_file(key, os.environ.get(PASSWORD))
    if identity is not None and issuer is not None:
        return sigstore_signer(identity, issuer)
    return None


def _overrides(choices: options.BuildChoices) -> dict[str, str]:
    """Return the options that replace values of the config, without paths."""
    overrides = {f"data.{name}": path.name for name, path in choices.data.items()}
    if choices.model is not None:
        overrides["model"] = choices.model if ":" in choices.model else Path(choices.model).name
    if choices.system is not None:
        overrides["system"] = choices.system
    return overrides


def _show(releases: list[Released], as_json: bool) -> None:
    from targets.console.print_release import print_release, release_data

    pairs = [(released, options.as_typed(released.release.folder)) for released in releases]
    if as_json:
        print_json_result(
            {"releases": [release_data(released, folder) for released, folder in pairs]}
        )
        return
    for released, folder in pairs:
        print_release(options.console(as_json), released, folder)
