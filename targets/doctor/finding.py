"""The findings of the doctor, and the machine that it examines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from pipeline.contract.schema import SharedCacheTable, SystemTable
from targets.errors import EnvironmentUnable
from targets.place import Place, place_of
from targets.runtimes.platform import platform_for
from targets.runtimes.runtime import RuntimeName
from targets.systems.find import elsewhere_of
from targets.systems.job_notes import Origin
from targets.systems.select import Chooser, Decision
from targets.target import Target
from targets.toolchain.platforms import this_machine
from targets.toolchain.registry.settings import RegistrySettings
from targets.toolchain.toolchain import Toolchain

Severity = Literal["ok", "warning", "problem"]
RUNTIMES: tuple[RuntimeName, ...] = ("docker", "venv")


@dataclass(frozen=True)
class Finding:
    """One fact about this machine, and what to do about it."""

    severity: Severity
    check: str
    message: str
    remedy: str = ""
    details: Mapping[str, object] = field(default_factory=dict)
    blocks: tuple[RuntimeName, ...] = ()
    """Runtimes in which it prevents builds."""


@dataclass(frozen=True)
class Machine:
    """The machine that is examined: its cache, engine, targets and toolchains."""

    cache: Path
    dist: Path
    targets: tuple[Target, ...]
    shared_cache: SharedCacheTable | None = None
    """The shared cache of the config, if it has one."""
    registry: RegistrySettings | None = None
    """The registry for images, if there is one."""
    systems: Mapping[str, SystemTable] = field(default_factory=dict)
    """The systems of the config, with absolute paths."""
    host: str = ""
    """The one of them on which its builds run; empty for this machine."""

    @cached_property
    def chooser(self) -> Chooser:
        """Return the object that decides where builds on this machine run."""
        return Chooser("auto", self.cache, registry=self.registry)

    def decide(self, toolchain: Toolchain) -> Decision:
        """Return where builds of the config run."""
        if not self.host:
            return self.chooser.decide([toolchain])
        origin = Origin(arguments=(), folder="", system=self.host, table=self.systems[self.host])
        elsewhere = elsewhere_of(origin, self.cache, registry=self.registry)
        try:
            return Chooser("auto", self.cache, elsewhere).decide([toolchain])
        finally:
            elsewhere.system.close()

    def has_image(self, toolchain: Toolchain) -> bool:
        """Return whether there is a usable engine that has the image."""
        try:
            return self.chooser.containers().find(toolchain) is not None
        except EnvironmentUnable:
            return False

    @property
    def toolchains(self) -> tuple[Toolchain, ...]:
        """Return the toolchain of each target that has one for this machine."""
        return tuple(place.toolchain for place in self.places)

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """Return toolchain and device of each target that has a toolchain for this machine."""
        platform = this_machine()
        return tuple(
            place_of(target, platform) for target in self.targets if platform in target.platforms
        )

    def toolchains_on(self, system: str) -> tuple[Toolchain, ...]:
        """Return the toolchain of each target that has one for ``system``, a name of the config."""
        platform = self.systems[system].platform or platform_for("docker")
        able = (target for target in self.targets if platform in target.platforms)
        return tuple(target.toolchain(platform) for target in able)


def usable_runtimes(findings: Iterable[Finding]) -> tuple[RuntimeName, ...]:
    """Return the runtimes that no finding blocks."""
    blocked = {name for finding in findings for name in finding.blocks}
    return tuple(name for name in RUNTIMES if name not in blocked)


def gigabytes(size: float) -> str:
    """Return bytes as text: ``1.7 GB``."""
    return f"{size / 1e9:.1f} GB"
