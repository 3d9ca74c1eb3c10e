"""Makes one release: checks preconditions, builds, composes, signs, and moves it into place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from securesystemslib.dsse import Envelope
from securesystemslib.signer import Signer

from targets.atomic import remove_leftovers, sibling_folder
from targets.cache import Cache
from targets.config.load import LoadedConfig
from targets.errors import CheckFailed, EnvironmentUnable
from targets.locks import locked
from targets.machine import threads
from targets.release import layout
from targets.release.compare_releases import compare_releases
from targets.release.compose_release import BuiltTarget, ComposedFiles, ReleaseContents, compose
from targets.release.doubts import doubts
from targets.release.hub import require_licences
from targets.release.inputs import QUERN, SOURCE, dependencies, produced_inputs
from targets.release.locked import require_lock_of_requirements, require_made_with_lock
from targets.release.outlook import before_training
from targets.release.provenance import (
    BuildEnvironment,
    BuildTimes,
    ReleaseRequest,
    statement,
    write_provenance,
)
from targets.release.read_release import ReadRelease, read_release
from targets.release.release_builder import ReleaseBuilder, require_releasable, require_repeatable
from targets.release.seed import copy_downloads, seed_results
from targets.release.source import Source, require_clean, source_of
from targets.release.statement import Statement
from targets.release.toolchains import contents_of, systems_of
from targets.signatures.envelope import PAYLOAD_TYPE
from targets.signatures.signing import is_signed_by, sign
from targets.target import TARGETS_DIR
from targets.version import is_clone

_MOST_SHOWN = 10


@dataclass(frozen=True)
class ReleaseOptions:
    """The options of a release."""

    version: str
    request: ReleaseRequest
    trained_outputs: Path | None = None
    """Path from which trained outputs are taken instead of training."""
    signer: Signer | None = None


@dataclass(frozen=True)
class Released:
    """A written release."""

    release: ReadRelease
    new: bool
    """Whether it did not exist before."""


@dataclass(frozen=True)
class Releaser:
    """Releases one loaded config."""

    maker: ReleaseBuilder
    dist: Path

    def release(self, options: ReleaseOptions) -> Released:
        """Write ``dist/<build>/release/<version>``, unless it exists with the same bytes.

        Raises the errors of a build, and ``ConfigError``, ``EnvironmentUnable`` or ``CheckFailed``
        if a precondition of a release is not met. Nothing is written then.
        """
        started = datetime.now(timezone.utc)
        require_repeatable(self.maker.loaded)
        require_licences(self.maker.loaded)
        sources = sources_of(self.maker.loaded, (self.dist,))
        if not options.request.allow_dirty:
            require_clean(sources.values())
        require_lock_of_requirements((*self.maker.places, self.maker.training_place))
        self.maker.require_runtime(
            "a release is made in containers", "which the provenance then says"
        )
        if options.trained_outputs is None:
            self._say_doubts()
        with self._maker(options) as maker:
            request = _import_trained_outputs(options, maker)
            built = tuple(maker.build(self.dist, timed=True))
            require_releasable(built, options.request.allow_unverified)
            for one in built:
                require_made_with_lock(one.outcome, one.place)
                require_made_with_lock(one.outcome, maker.training_place)
            contents = self._contents(options.version, built, sources)
            return self._write(contents, replace(options, request=request), maker.kept, started)

    def _say_doubts(self) -> None:
        maker = self.maker
        plans = [plans.whole for plans in maker.plans()]
        said = before_training(doubts(plans, maker.loaded, maker.training_place))
        if said:
            maker.view.say(said)

    @contextmanager
    def _maker(self, options: ReleaseOptions) -> Iterator[ReleaseBuilder]:
        """Yield the maker; with a separate cache of results if trained outputs are given."""
        if options.trained_outputs is None:
            yield self.maker
            return
        with self.maker.cache.scratch_folder() as scratch:
            yield replace(self.maker, results=Cache(scratch))

    def _contents(
        self, version: str, built: tuple[BuiltTarget, ...], sources: dict[str, Source]
    ) -> ReleaseContents:
        plans = [one.plans.whole for one in built]
        maker = self.maker
        toolchains = contents_of(built, maker.training_place, maker.cache.root, maker.view.say)
        before = dependencies(maker.loaded, plans, maker.used_places(plans), sources)
        after = produced_inputs(one.outcome for one in built)
        systems = systems_of(built, maker.training_place)
        inputs = sorted([*before, *after, *systems], key=lambda item: item.name)
        return ReleaseContents(maker.loaded, version, built, tuple(inputs), toolchains)

    def _write(
        self, contents: ReleaseContents, options: ReleaseOptions, cache: Cache, started: datetime
    ) -> Released:
        folder = layout.release_dir(self.dist, contents.build, contents.version)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder.parent / f".{contents.version}.lock"):
            remove_leftovers(folder)
            with sibling_folder(folder) as fresh:
                written = compose(fresh, contents, cache)
                stated = self._statement(fresh, contents, written, options, started)
                envelope = Envelope(stated.to_json(), PAYLOAD_TYPE, {})
                new = not folder.exists()
                if new and options.signer is not None:
                    sign(envelope, options.signer)
                write_provenance(fresh, envelope)
                made = read_release(fresh)
                if new:
                    fresh.rename(folder)
                    return Released(replace(made, folder=folder), new)
                _require_same(folder, fresh)
            if options.signer is not None:
                _sign_again(folder, options.signer)
            return Released(read_release(folder), new)

    def _statement(
        self,
        folder: Path,
        contents: ReleaseContents,
        written: ComposedFiles,
        options: ReleaseOptions,
        started: datetime,
    ) -> Statement:
        environment = BuildEnvironment(
            runtime=self.maker.runtime,
            host=self.maker.training_place.toolchain.target,
            threads=threads(self.maker.loaded.config.resources),
        )
        times = BuildTimes(started, datetime.now(timezone.utc))
        return statement(folder, contents, written, options.request, environment, times)


def _sign_again(folder: Path, signer: Signer) -> None:
    """Add a signature to those of the release in ``folder``, unless it has one of this signer."""
    envelope = read_release(folder).envelope
    if not is_signed_by(envelope, signer.public_key):
        sign(envelope, signer)
        write_provenance(folder, envelope)


def sources_of(loaded: LoadedConfig, outputs: tuple[Path, ...]) -> dict[str, Source]:
    """Return the repositories of config and Quern; only one if they are the same.

    Raises ``EnvironmentUnable`` if Quern is installed as a package.
    """
    if not is_clone():
        raise EnvironmentUnable(
            "an installed Quern does not know of which commit it is, which a release says",
            "make and rebuild releases with a clone of Quern, by `./nox`",
        )
    config = source_of(loaded.file.parent, outputs)
    quern = source_of(TARGETS_DIR, outputs)
    same = config.root == quern.root
    return {SOURCE: config} if same else {SOURCE: config, QUERN: quern}


def _import_trained_outputs(options: ReleaseOptions, maker: ReleaseBuilder) -> ReleaseRequest:
    """Import the given trained outputs; return the user's options, with the names of the steps."""
    if options.trained_outputs is None:
        return options.request
    plans = [plans.whole for plans in maker.plans()]
    copy_downloads(plans, maker.cache, maker.kept)
    names = seed_results(options.trained_outputs, plans, maker.kept)
    maker.view.say(f"given, not trained here: {names}")
    return replace(options.request, trained_elsewhere=names)


def _require_same(released: Path, made: Path) -> None:
    """Raise ``CheckFailed`` if the existing release of that version has other bytes."""
    read_release(released)
    differences = compare_releases(released, made).differences
    if differences:
        shown = [f"{item.file}: {item.where}: {item.what}" for item in differences[:_MOST_SHOWN]]
        if len(differences) > _MOST_SHOWN:
            shown.append(f"and {len(differences) - _MOST_SHOWN} more")
        raise CheckFailed(
            "\n".join([f"{released} is released already, with other bytes:", *shown]),
            "a version stands for one set of bytes: give another --version",
        )
