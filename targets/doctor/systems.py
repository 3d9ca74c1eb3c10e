"""Examines systems: reach, rights, free space, the GPU there, and the images.

They are those of a config, and an engine elsewhere that the environment names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from docker.errors import APIError

from targets.devices import cuda
from targets.devices.device import Device
from targets.doctor.finding import Finding, Machine, Severity, gigabytes
from targets.errors import EnvironmentUnable
from targets.machine import lacking
from targets.runtimes.runtime import RuntimeName
from targets.systems.engine.engine_system import EngineFound, EngineSystem
from targets.systems.find import system_of
from targets.systems.system import System
from targets.toolchain.engine import reason
from targets.toolchain.toolchain import Toolchain

_DISK_ENOUGH = 6e9
"""Free bytes there, without which an image may not be built."""


def systems(machine: Machine) -> Iterator[Finding]:
    """Examine each system of the config."""
    for name, table in machine.systems.items():
        system = system_of(name, table, machine.cache, machine.registry)
        try:
            yield from examined(system, machine.toolchains_on(name), machine)
        finally:
            system.close()


def examined(
    system: System,
    toolchains: Iterable[Toolchain],
    machine: Machine,
    blocks: tuple[RuntimeName, ...] = (),
) -> Iterator[Finding]:
    """Examine ``system``. A container looks around there, if the engine has an image for it.
    ``blocks`` is what cannot be used here if the system cannot."""
    try:
        if isinstance(system, EngineSystem):
            yield from _examine(system, toolchains, machine)
        else:
            yield from _ask(system, toolchains)
    except EnvironmentUnable as unable:
        yield Finding("warning", system.name, str(unable), unable.hint, blocks=blocks)
    except APIError as error:
        told = f"its engine refuses: {reason(error)}"
        yield Finding("warning", system.name, told, blocks=blocks)


def _ask(system: System, toolchains: Iterable[Toolchain]) -> Iterator[Finding]:
    """Examine a service, as far as it answers."""
    note = system.limits_note()
    level: Severity = "warning" if "warning" in note else "ok"
    yield Finding(level, system.name, f"{system.where}; {note}")
    for toolchain in toolchains:
        yield _image(system, toolchain)


def _image(system: System, toolchain: Toolchain) -> Finding:
    details = {"target": toolchain.target}
    return Finding("ok", f"{system.name} image", system.require(toolchain), details=details)


def _examine(
    system: EngineSystem, toolchains: Iterable[Toolchain], machine: Machine
) -> Iterator[Finding]:
    name = system.name
    found = system.examine()
    note = system.limits_note()
    yield Finding(
        "warning" if note else "ok",
        name,
        f"{system.where}: engine {found.version}, {found.cores} CPUs, "
        f"{gigabytes(found.memory)} memory{f'; {note}' if note else ''}",
        details={"version": found.version, "cores": found.cores, "memory_bytes": found.memory},
    )
    yield from _machine(name, found)
    kinds = {target.name: target.device for target in machine.targets}
    for toolchain in toolchains:
        yield _image(system, toolchain)
        if kinds[toolchain.target] == cuda.KIND:
            yield _gpu(name, found, cuda.device_of(found.gpus, toolchain, f"on {name}"))


def _machine(name: str, found: EngineFound) -> Iterator[Finding]:
    if found.seen is None:
        message = "free space, CPU and GPU are seen once it has an image"
        yield Finding("ok", f"{name} machine", message)
        return
    free = found.seen.free
    short = free < _DISK_ENOUGH
    yield Finding(
        "warning" if short else "ok",
        f"{name} disk",
        f"{gigabytes(free)} free",
        "an image takes 6 GB while it is built: `docker system prune` there" if short else "",
        {"free_bytes": free},
    )
    if absent := lacking(found.seen.flags):
        message = f"{found.seen.cpu} lacks {', '.join(absent)}, which the toolchains use"
        yield Finding("warning", f"{name} cpu", message, "use another system, or this machine")


def _gpu(name: str, found: EngineFound, device: Device) -> Finding:
    if found.seen is None or not found.runs_gpus:
        message = "its containers get no GPU" if not found.runs_gpus else "not known yet"
        return Finding("ok", f"{name} gpu", message)
    if device.here:
        return Finding("ok", f"{name} gpu", device.description)
    return Finding("warning", f"{name} gpu", device.absence)
