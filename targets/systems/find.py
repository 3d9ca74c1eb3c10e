"""Finds systems: those of a config, and an engine elsewhere that the environment names.

A type of system is one module, which this one knows by the table of the config.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pipeline.contract.schema import AzureMLSystem, DockerSystem, SlurmSystem, SystemTable
from targets.toolchain.registry.settings import RegistrySettings

if TYPE_CHECKING:
    from targets.systems.job_notes import JobNotes, Origin
    from targets.systems.system import System


@dataclass(frozen=True)
class Elsewhere:
    """The system that a command uses, and how."""

    system: System
    notes: JobNotes
    detach: bool = False
    chosen: bool = True
    """Whether the user has; else the environment names it."""
    checkpoints: bool = False
    """Whether checkpoints come here that were not trained there."""


def system_of(
    name: str,
    table: SystemTable,
    cache: Path,
    registry: RegistrySettings | None = None,
    trust: tuple[Path, ...] = (),
) -> System:
    """Return the system ``name`` of a config, whose paths are absolute. Nobody is asked.

    ``trust`` is for images of a registry that the system itself names, as ``registry`` has its own.
    """
    if isinstance(table, AzureMLSystem):
        from targets.systems.azureml.azureml_system import AzureSystem

        return AzureSystem(name, table, cache, trust)
    if isinstance(table, SlurmSystem):
        from targets.systems.slurm import slurm_system

        return slurm_system.SlurmSystem(name, table, cache)
    from targets.systems.engine.address import EngineAddress, docker_certificates
    from targets.systems.engine.engine_system import EngineSystem

    certificates = None
    if table.engine.startswith("tcp://"):
        certificates = Path(table.certificates) if table.certificates else docker_certificates()
    address = EngineAddress(table.engine, certificates)
    return EngineSystem(name, address, cache, table.patience, registry=registry)


def elsewhere_of(
    origin: Origin,
    cache: Path,
    *,
    detach: bool = False,
    registry: RegistrySettings | None = None,
    trust: tuple[Path, ...] = (),
) -> Elsewhere:
    """Return the system of the command ``origin``, as :func:`system_of` does."""
    from targets.systems.job_notes import JobNotes

    system = system_of(origin.system, origin.table, cache, registry, trust)
    notes, table = JobNotes(cache, origin), origin.table
    checkpoints = table.checkpoints if isinstance(table, DockerSystem) else True
    return Elsewhere(system, notes, detach, checkpoints=checkpoints)


def engine_of_environment(
    cache: Path, sees_folders: Callable[[], bool], registry: RegistrySettings | None = None
) -> Elsewhere | None:
    """Return the engine that ``DOCKER_HOST`` or the active context names, if it is elsewhere.

    One that SSH leads to is; of any other, ``sees_folders`` says whether it is here.
    """
    from targets.systems.engine.address import address_of_environment
    from targets.systems.engine.engine_system import EngineSystem
    from targets.systems.job_notes import JobNotes

    address = address_of_environment()
    if address is None or (address.ssh is None and sees_folders()):
        return None
    name = urlsplit(address.url).hostname or "the engine"
    system = EngineSystem(name, address, cache, registry=registry)
    return Elsewhere(system, JobNotes(cache), chosen=False)
