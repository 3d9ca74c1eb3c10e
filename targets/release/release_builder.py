"""Builds the targets of a release."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from targets.build import Builder
from targets.cache import Cache
from targets.config.load import LoadedConfig
from targets.errors import CheckFailed, ConfigError, EnvironmentUnable, Problem
from targets.place import Place, places_by_name
from targets.planner.build_plan import BuildPlan
from targets.release.compose_release import BuiltTarget
from targets.release.released_report import Plans, repeatable_part
from targets.runtimes.runtime import RuntimeName, StartRuntime
from targets.view import View


@dataclass(frozen=True)
class ReleaseBuilder:
    """Builds one config for its targets, with all checks or only with the repeatable ones."""

    loaded: LoadedConfig
    places: tuple[Place, ...]
    training_place: Place
    cache: Cache
    """The cache of toolchains, and of results unless :attr:`results` is set."""
    start: StartRuntime
    view: View
    runtime: RuntimeName
    """The only runtime that is used; results of another runtime are made again."""
    results: Cache | None = None
    """A separate cache of results."""

    @property
    def kept(self) -> Cache:
        """Return the cache with the results."""
        return self.results or self.cache

    def plans(self) -> tuple[Plans, ...]:
        """Return the plan of each target. Nothing runs."""
        return tuple(self._plans(place) for place in self.places)

    def require_runtime(self, need: str, otherwise: str) -> None:
        """Raise ``EnvironmentUnable`` before any work if the runtime is not available.

        Where containers cannot be had, it says ``need``, why they are needed, and ``otherwise``.
        """
        places = self.used_places(plans.whole for plans in self.plans())
        try:
            self.start([place.toolchain for place in places])
        except EnvironmentUnable as unable:
            if self.runtime == "venv":
                raise
            raise EnvironmentUnable(
                f"{need}, and {unable}", f"{unable.hint}, {otherwise}"
            ) from unable

    def build(self, dist: Path, timed: bool) -> Iterator[BuiltTarget]:
        """Build each target in turn; without ``timed``, times and memory are not measured."""
        loaded = self.loaded if timed else repeatable_part(self.loaded)
        for place in self.places:
            outcome = self._builder(loaded, place).build(dist)
            yield BuiltTarget(place, outcome, self._plans(place))

    def used_places(self, plans: Iterable[BuildPlan]) -> tuple[Place, ...]:
        """Return the places in which a step of ``plans`` runs."""
        used = (planned.step.target for plan in plans for planned in plan.steps)
        return tuple(places_by_name(used, (self.training_place, *self.places)).values())

    def _plans(self, place: Place) -> Plans:
        return Plans(
            whole=self._builder(self.loaded, place).plan(),
            repeatable=self._builder(repeatable_part(self.loaded), place).plan(),
        )

    def _builder(self, loaded: LoadedConfig, place: Place) -> Builder:
        return Builder(
            loaded, self.kept, place, self.training_place, self.start, self.view, self.runtime
        )


def require_repeatable(loaded: LoadedConfig) -> None:
    """Raise ``ConfigError`` for what could not be reproduced: a pass whose output depends on
    measured times, or the arithmetic of one kind of CPU."""
    if loaded.config.resources.arithmetic != "portable":
        raise ConfigError(
            [
                Problem(
                    "the bytes would be those of this CPU, so a release could not be made again "
                    "on another one",
                    loaded.file,
                    key="resources.arithmetic",
                    suggestion='set it to "portable", the default',
                )
            ]
        )
    measuring = {
        call.name
        for chain in loaded.chains.values()
        for call in chain.passes
        if call.implementation.measures
    }
    if measuring:
        raise ConfigError(
            [
                Problem(
                    "what it makes follows from times measured here, so a release could not be "
                    "made again",
                    loaded.file,
                    key=f"passes.{name}",
                    suggestion="build once, and put the model_builder table that the report shows "
                    "in its place",
                )
                for name in sorted(measuring)
            ]
        )


def require_releasable(built: Iterable[BuiltTarget], allow_unverified: bool) -> None:
    """Raise ``CheckFailed`` if a verdict failed, or is unverified and that is not allowed."""
    reports = [one.outcome.report for one in built]
    failed = [
        f"{report.target}: {check.name}"
        for report in reports
        for check in report.checks
        if check.status == "failed"
    ]
    if failed:
        raise CheckFailed(
            f"nothing is released, because a check failed: {', '.join(failed)}",
            "the report beside the artifact says by how much",
        )
    unverified = [report.target for report in reports if report.status == "unverified"]
    if unverified and not allow_unverified:
        raise CheckFailed(
            f"nothing is released, because {', '.join(unverified)} is unverified",
            "run `nox -s check-TARGET` where the device is and bring the result back, or use "
            "--allow-unverified, which the model card and the provenance then say",
        )
