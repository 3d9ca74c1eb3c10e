"""Rebuilds a release from the inputs in its provenance."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from targets.atomic import remove_tree
from targets.cache import Cache, CachedStep
from targets.device_checks.checked_result import FILE as CHECKED_FILE
from targets.devices.device import Device
from targets.errors import ConfigError, EnvironmentUnable, Problem
from targets.place import Place
from targets.release import layout
from targets.release.archive import read_file
from targets.release.compose_release import BuiltTarget, ReleaseContents, compose
from targets.release.inputs import (
    FOLDER,
    MADE,
    QUERN,
    RUNTIME,
    SOURCE,
    dependencies,
    files_digest,
    produced_inputs,
)
from targets.release.read_release import ReadRelease
from targets.release.rebuilt import Surroundings
from targets.release.release_builder import ReleaseBuilder
from targets.release.seed import copy_downloads, seed_results
from targets.release.source import Source
from targets.release.statement import ResourceDescriptor
from targets.release.toolchains import contents_of, missing_wheels
from targets.runtimes.runtime import RuntimeName


@dataclass(frozen=True)
class Rebuilder:
    """Rebuilds one release."""

    release: ReadRelease
    maker: ReleaseBuilder
    """Builds the current config. Only toolchains and downloads of its cache are used."""

    def require_same_inputs(self, sources: Mapping[str, Source]) -> None:
        """Raise ``ConfigError`` that names every input that differs from the release's.

        ``sources`` are the repositories of config and Quern on this machine. Their commits may
        differ if the inputs in them do not.
        """
        plans = [plans.whole for plans in self.maker.plans()]
        places = self.maker.used_places(plans)
        inputs = dependencies(self.maker.loaded, plans, places, sources)
        by_name = {item.name: item for item in inputs}
        problems = list(_other_inputs(self.release.inputs, by_name))
        problems = problems or list(self._other_steps())
        if problems:
            commits = {
                item.name: item.digest["gitCommit"]
                for item in self.release.inputs
                if item.name in sources and "gitCommit" in item.digest
            }
            advice = ", ".join(f"{name} at commit {commit}" for name, commit in commits.items())
            other = [
                Problem(problem, self.release.file(layout.PROVENANCE)) for problem in problems[:-1]
            ]
            last = f"check out {advice}" if advice else ""
            other.append(
                Problem(problems[-1], self.release.file(layout.PROVENANCE), suggestion=last)
            )
            raise ConfigError(other)

    def require_offline(self) -> None:
        """Raise ``EnvironmentUnable`` if the rebuild would need the network."""
        wheels = missing_wheels(
            (*self.maker.places, self.maker.training_place), self.maker.cache.root
        )
        if wheels:
            raise EnvironmentUnable(
                f"{len(wheels)} wheels of the toolchain are not here ({', '.join(wheels[:3])}, …), "
                "and verify uses no network",
                "run `nox -s images`, or `nox -s import-toolchain` with what another machine "
                "exported",
            )

    def rebuild(self, scratch: Path, trained_outputs: Path | None) -> tuple[Path, Surroundings]:
        """Rebuild the release below ``scratch``; return its folder, and where it was made.

        With ``trained_outputs`` nothing is trained again. Of the user's cache, only toolchains and
        downloads are used. What a rebuild that was stopped left of steps below ``scratch`` is.
        """
        for made in ("dist", "release"):
            remove_tree(scratch / made)
        clean = Cache(scratch / "cache")
        maker = replace(self.maker, results=clean)
        plans = [plans.whole for plans in maker.plans()]
        downloaded, missing = copy_downloads(plans, self.maker.cache, clean)
        _require_as_recorded(downloaded, self.release.inputs)
        if missing:
            raise EnvironmentUnable(
                f"what {', '.join(missing)} fetched is not here, and verify uses no network",
                "build once with the network, then verify",
            )
        if trained_outputs is not None:
            seed_results(trained_outputs, plans, clean)
        dist = scratch / "dist"
        self._bring_checked(dist)
        built = tuple(maker.build(dist, timed=False))
        folder = scratch / "release"
        folder.mkdir()
        contents = ReleaseContents(
            loaded=maker.loaded,
            version=self.release.version,
            built=built,
            inputs=self.release.inputs,
            toolchains=contents_of(built, maker.training_place, maker.cache.root, maker.view.say),
        )
        compose(folder, contents, clean)
        return folder, _around(maker.runtime, built)

    def _other_steps(self) -> Iterator[str]:
        """Yield the steps whose keys differ although their inputs do not, because of their code."""
        plans = {plans.whole.target: plans.repeatable for plans in self.maker.plans()}
        for report in self.release.reports:
            our_keys = {
                planned.step.name: planned.step.key for planned in plans[report.target].steps
            }
            released_keys = {step.name: step.key for step in report.steps}
            names = [
                name
                for name in {**released_keys, **our_keys}
                if our_keys.get(name) != released_keys.get(name)
            ]
            if names:
                yield (
                    f"{report.target}: the code or parameters of {', '.join(names)} are not those "
                    "of the release"
                )

    def _bring_checked(self, dist: Path) -> None:
        """Copy the results of checks on another machine to where the build reads them."""
        for report in self.release.reports:
            if report.checked is None:
                continue
            release = self.release
            archive = layout.archive_name(release.build, release.version, report.target)
            root = layout.stem(release.build, release.version, report.target)
            folder = dist / release.build / report.target
            folder.mkdir(parents=True)
            content = read_file(release.file(archive), f"{root}/{CHECKED_FILE}")
            (folder / CHECKED_FILE).write_bytes(content)


def _around(runtime: RuntimeName, built: tuple[BuiltTarget, ...]) -> Surroundings:
    made = produced_inputs(one.outcome for one in built)
    return Surroundings(
        runtime=runtime,
        python={one.name: one.outcome.report.toolchain.python for one in built},
        inputs=tuple(item for item in made if item.name.startswith(RUNTIME)),
    )


def require_same_platform(release: ReadRelease, places: Iterable[Place]) -> None:
    """Raise ``EnvironmentUnable`` if artifacts were made on another platform than that of here:
    its wheels are others, and so may be the bytes."""
    made = {report.target: report.toolchain.platform for report in release.reports}
    for place in places:
        platform, here = made.get(place.toolchain.target, ""), place.toolchain.platform
        if platform != here:
            raise EnvironmentUnable(
                f"{release.build} {release.version} was made on {platform}, this is {here}: its "
                "wheels are others, so nothing that is rebuilt here would prove anything",
                f"verify it on {platform}; --quick and --rebuilt-by prove it here",
            )


def as_released(release: ReadRelease, maker: ReleaseBuilder) -> ReleaseBuilder:
    """Return ``maker`` with the threads and the absent devices of the release.

    Raises ``EnvironmentUnable`` if it was checked on a device that this machine lacks.
    """
    absent = release.internal_parameters.absent_devices
    places = []
    for place in maker.places:
        name = place.toolchain.target
        if name in absent:
            place = replace(place, device=Device(place.device.kind, absence=absent[name]))
        elif not place.device.here:
            raise EnvironmentUnable(
                f"the release was checked on the device of {name}; here {place.device.absence}",
                "verify it where that is, or use --quick",
            )
        places.append(place)
    config = maker.loaded.config
    threads = {"threads": release.internal_parameters.threads}
    resources = config.resources.model_copy(update=threads)
    loaded = replace(maker.loaded, config=config.model_copy(update={"resources": resources}))
    return replace(maker, loaded=loaded, places=tuple(places))


def _other_inputs(
    recorded: Iterable[ResourceDescriptor], inputs: Mapping[str, ResourceDescriptor]
) -> Iterator[str]:
    known = {item.name: item for item in recorded if not item.name.startswith(MADE)}
    # Another commit may hold the same inputs.
    for name in sorted((known.keys() | inputs.keys()) - {SOURCE, QUERN}):
        if name not in known or name not in inputs:
            yield f"{name} is an input {'here' if name in inputs else 'of the release'} only"
        elif inputs[name].digest != known[name].digest:
            path = known[name].annotations.get("path", "")
            yield f"{name}{f' ({path})' if path else ''} is not what the release was made from"


def _require_as_recorded(
    downloaded: Mapping[str, CachedStep], recorded: Iterable[ResourceDescriptor]
) -> None:
    """Raise ``ConfigError`` if downloads differ from the inputs of the release."""
    known = {item.annotations.get("step"): item.digest.get(FOLDER) for item in recorded}
    other = [
        Problem(
            f"what {download.result.name} fetched is not what the release was made from",
            download.folder,
            suggestion="remove that folder and fetch it again",
        )
        for key, download in downloaded.items()
        if known.get(key) != files_digest(download.result.files)
    ]
    if other:
        raise ConfigError(other)
