"""The resolved plan of one build for one target: its steps, cached or with a reason to run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.contract.kinds import Kind
from pipeline.contract.plan import SourceInput, Step
from targets.cache import CachedStep
from targets.config.chain import PassCall
from targets.runtimes.runtime import Mount

if TYPE_CHECKING:
    from targets.toolchain.package_set import PackageSet


@dataclass(frozen=True)
class PlannedStep:
    """A step, its cached result if there is one, and the reason why it is cached or must run."""

    step: Step
    cached: CachedStep | None
    reason: str
    call: PassCall | None = None
    """The pass that it runs; ``None`` for a check."""
    set_aside: CachedStep | None = None
    """A cached result that is not used, because another runtime made it."""
    replaces: bool = False
    """Whether a cached result is not used because it is provisional, or was made from one that is;
    it is removed before the step runs."""
    distrusted: bool = False
    """Whether no cached result is used because it came from a shared cache that this config would
    not take it from, or was made from one that did: a build removes it before anything else."""


@dataclass(frozen=True)
class BuildPlan:
    """All steps of one target's chain, in order."""

    build: str
    target: str
    steps: tuple[PlannedStep, ...]
    mounts: tuple[Mount, ...]
    """The user's files that steps read, and their packages."""
    artifact: str
    """Name of the step that makes the artifact."""
    artifact_kind: Kind = "onnx"
    packages: tuple[PackageSet, ...] = ()
    """The packages that steps have beside those of their toolchain, whether they run or not."""
    notes: tuple[str, ...] = ()
    """Decisions that the user must know, e.g. that remote code is trusted."""

    @property
    def missing(self) -> tuple[PlannedStep, ...]:
        """Return the steps that must run: of those with the same key, which have the same result,
        the first."""
        missing = [planned for planned in self.steps if planned.cached is None]
        first = {planned.step.key: planned for planned in reversed(missing)}
        return tuple(planned for planned in missing if first[planned.step.key] is planned)

    @property
    def missing_packages(self) -> tuple[PackageSet, ...]:
        """Return the packages of steps that must run."""
        read = {
            source.ref.root
            for planned in self.missing
            for source in planned.step.inputs.values()
            if isinstance(source, SourceInput)
        }
        return tuple(packages for packages in self.packages if packages.root in read)

    def __getitem__(self, name: str) -> PlannedStep:
        return next(planned for planned in self.steps if planned.step.name == name)
