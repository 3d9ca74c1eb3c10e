"""``verify``: prove a release, by rebuilding it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from targets.cli import options
from targets.cli.commands.release import PASSWORD, require_libraries
from targets.cli.json_output import print_json_result
from targets.cli.running import runtime_starter, show_view
from targets.errors import CheckFailed, ConfigError, Problem

if TYPE_CHECKING:
    from targets.release.read_release import ReadRelease
    from targets.release.verify import Verified
    from targets.runtimes.platform import Choice
    from targets.signatures.signing import Trusted


REQUIREMENTS = "requirements-release.lock"


@click.command("verify")
@click.argument("folder", metavar="RELEASE_DIR", type=click.Path(path_type=Path))
@click.option(
    "--quick", is_flag=True, help="Check digests, signature and file formats; rebuild nothing."
)
@click.option(
    "--key",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Require a signature by this public key, or by the key of this certificate (PEM).",
)
@options.identity_options("Require a signature through sigstore, by")
@click.option(
    "--from-adapter",
    is_flag=True,
    help="Do not train again: take what was trained from the release, and rebuild the rest. The "
    "way on another kind of CPU.",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="The config it was made from (default: found as the provenance names it).",
)
@click.option(
    "--data",
    multiple=True,
    metavar="NAME=PATH",
    callback=options.pairs,
    help="A data file in place of the config's. Repeatable.",
)
@click.option("--model", metavar="PATH", help="Base model in place of the config's.")
@click.option(
    "--keep",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Keep the rebuilt release in this new folder, to look into what differs.",
)
@click.option(
    "--rebuilt-by",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Require that the owner of this public key or certificate (PEM) rebuilt it and says so in "
    "the release; rebuild nothing here.",
)
@click.option(
    "--sign-key",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="If the rebuild is the same, say so in the release, signed with this private key (PEM).",
)
@options.cache_option
@options.config_runtime_option
@options.json_option
def command(
    folder: Path,
    quick: bool,
    key: Path | None,
    identity: str | None,
    issuer: str | None,
    from_adapter: bool,
    config: Path | None,
    data: dict[str, Path],
    model: str | None,
    keep: Path | None,
    rebuilt_by: Path | None,
    sign_key: Path | None,
    cache: Path | None,
    runtime: Choice | None,
    as_json: bool,
) -> None:
    """Check digests, signature, SBOM and provenance of a release; then make it again from the
    inputs it names, in an empty cache and without network, and compare every file.

    Ends with exit code 3 on any difference, and shows where it is and how large.
    """
    require_libraries("verify")
    from targets.release.read_release import read_release
    from targets.release.rebuilt import require_rebuilt
    from targets.release.release_builder import ReleaseBuilder
    from targets.release.verify import Rebuild, Verified
    from targets.signatures.signing import signer_of_file, trusted_file

    quick_option = "--quick" if quick else "--rebuilt-by" if rebuilt_by is not None else ""
    _require_rebuild({"--keep": keep, "--sign-key": sign_key}, quick_option)
    if keep is not None and keep.exists():
        raise ConfigError([Problem(f"{keep} is there already", key="--keep")])
    trusted = _trusted(key, identity, issuer)
    rebuilder = None if rebuilt_by is None else trusted_file(rebuilt_by)
    own = None if sign_key is None else signer_of_file(sign_key, os.environ.get(PASSWORD))
    release = read_release(folder, trusted)
    signer = trusted.described if trusted is not None else ""
    if rebuilder is not None:
        said = require_rebuilt(release.rebuilt, trusted, rebuilder, folder)
        _finish(
            Verified(
                release,
                signer=signer,
                rebuilder=rebuilder.described,
                rebuilder_was_given=said.trained_elsewhere,
            ),
            as_json,
        )
        return
    if quick:
        _finish(Verified(release, signer=signer), as_json)
        return
    recorded = release.internal_parameters.runtime
    chosen = recorded if runtime is None or runtime == "auto" else runtime
    choices = options.BuildChoices(
        config=_config(release, config),
        targets=release.external_parameters.targets,
        host=release.internal_parameters.host,
        data=data,
        model=model,
        runtime=chosen,
        system=release.external_parameters.overrides.get("system"),
    )
    request = _request(options.load_requests(choices, here=True), release)
    store = options.open_cache(cache)
    with show_view(options.console(as_json)) as view:
        # Whoever verifies says where images come from, and not who released.
        start = runtime_starter(chosen, store.root, view, registry=options.registry_settings())
        maker = ReleaseBuilder(
            request.loaded, request.places, request.training_place, store, start, view, chosen
        )
        verified = Rebuild(maker, from_adapter, keep, own).verify(release, signer)
    _finish(verified, as_json)


def _require_rebuild(given: Mapping[str, Path | None], without: str) -> None:
    """Raise ``ConfigError`` for options of a rebuild where the option ``without`` asks for none."""
    problems = [
        Problem(f"nothing is rebuilt with {without}", key=name)
        for name, value in given.items()
        if value is not None and without
    ]
    if problems:
        raise ConfigError(problems)


def _trusted(key: Path | None, identity: str | None, issuer: str | None) -> Trusted | None:
    from targets.signatures.signing import trusted_file, trusted_identity

    options.require_identity(identity, issuer, key, "--key")
    if key is not None:
        return trusted_file(key)
    if identity is not None and issuer is not None:
        return trusted_identity(identity, issuer)
    return None


def _config(release: ReadRelease, given: Path | None) -> Path:
    """Return the config: in the repository of the working directory, else in Quern's own."""
    from targets.release.source import source_of

    if given is not None:
        return given
    path = release.external_parameters.config
    roots = (source_of(Path.cwd()).root, options.PROJECT)
    config = next((root / path for root in roots if (root / path).is_file()), None)
    if config is None:
        advice = "stand in the repository that the release was made from, or give --config"
        raise ConfigError([Problem(f"there is no {path} here", key="--config", suggestion=advice)])
    return config


def _request(requests: tuple[options.Request, ...], release: ReadRelease) -> options.Request:
    """Return the request of the build that was released: a config may define several."""
    for request in requests:
        if request.loaded.config.name == release.build:
            return request
    names = ", ".join(request.loaded.config.name for request in requests)
    problem = f"defines {names}; the release is of {release.build}"
    raise ConfigError([Problem(problem, requests[0].loaded.file, key="--config")])


def _finish(verified: Verified, as_json: bool) -> None:
    from targets.console.print_verified import print_verified, verified_data

    failure = None
    if verified.differs:
        count = len({item.file for item in verified.comparison.differences})
        failure = CheckFailed(f"the rebuild has other bytes in {count} files", verified.advice)
    if as_json:
        print_json_result(verified_data(verified), failure)
        return
    print_verified(options.console(as_json), verified)
    if failure is not None:
        raise failure
