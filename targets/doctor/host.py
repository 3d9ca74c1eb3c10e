"""Examines Python, disk, memory, CPU and the targets' devices."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator

import psutil

from targets.devices.device import CPU
from targets.doctor.finding import RUNTIMES, Finding, Machine, gigabytes
from targets.errors import EnvironmentUnable
from targets.machine import cpu_name, lacking_instructions, require_instructions
from targets.version import invocation

# Bytes. Wheels 0.4 GB, a virtual environment 1.3 GB more; the rest is room for results.
_DISK_LEAST, _DISK_ENOUGH = 3e9, 8e9
# The shipped example peaks below 2 GB. Merging, building and checking a model of Phi-3-mini's size
# peaks in the check `memory`; docs/scale.md has it, and what fine-tuning takes.
_MEMORY_LEAST, MEMORY_ENOUGH = 2e9, 5.3e9


def python(_machine: Machine) -> Iterator[Finding]:
    """Examine the Python that runs Quern, which is at least 3.10."""
    yield Finding("ok", "python", f"Python {platform.python_version()} at {sys.executable}")


def disk(machine: Machine) -> Iterator[Finding]:
    """Examine free space and write permission in the folders of outputs."""
    for check, folder in (("cache", machine.cache), ("dist", machine.dist)):
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        if not os.access(existing, os.W_OK):
            yield Finding(
                "problem",
                check,
                f"no permission to write to {existing}",
                f"choose another folder with --{check}",
                blocks=RUNTIMES,
            )
            continue
        free = shutil.disk_usage(existing).free
        message = f"{gigabytes(free)} free at {folder}"
        details = {"folder": str(folder), "free_bytes": free}
        remedy = f"free some space, or choose another folder with --{check}"
        if free < _DISK_LEAST:
            yield Finding("problem", check, message, remedy, details, RUNTIMES)
        elif free < _DISK_ENOUGH:
            yield Finding("warning", check, message, remedy, details)
        else:
            yield Finding("ok", check, message, details=details)


def memory(_machine: Machine) -> Iterator[Finding]:
    """Examine the memory."""
    available = psutil.virtual_memory()
    message = f"{gigabytes(available.available)} of {gigabytes(available.total)} available"
    details = {"available_bytes": available.available, "total_bytes": available.total}
    if available.total < _MEMORY_LEAST:
        remedy = "the shipped example needs 2 GB; use a larger machine"
        yield Finding("problem", "memory", message, remedy, details, RUNTIMES)
    elif available.available < MEMORY_ENOUGH:
        remedy = (
            f"close other programs; building a model of Phi-3-mini's size takes "
            f"{gigabytes(MEMORY_ENOUGH)}, fine-tuning it more (docs/scale.md)"
        )
        yield Finding("warning", "memory", message, remedy, details)
    else:
        yield Finding("ok", "memory", message, details=details)


def cpu(_machine: Machine) -> Iterator[Finding]:
    """Examine name and instruction sets of the CPU."""
    cores = psutil.cpu_count() or 1
    missing = lacking_instructions()
    details = {"cores": cores, "machine": platform.machine()}
    try:
        require_instructions()
    except EnvironmentUnable as unable:
        yield Finding("problem", "cpu", str(unable), unable.hint, details, RUNTIMES)
        return
    if missing:
        yield Finding(
            "warning",
            "cpu",
            f"{cores} CPUs without x86-64-v3 (lacking {', '.join(missing)})",
            "builds run, and may give other bytes than on CPUs that have it",
            details,
        )
    else:
        level = ", x86-64-v3" if missing is not None else ""
        yield Finding("ok", "cpu", f"{cores} CPUs, {cpu_name()}{level}", details=details)


def gpu(machine: Machine) -> Iterator[Finding]:
    """Examine the device of each target; a target can be built without it."""
    for place in machine.places:
        device = place.device
        if device.kind == CPU:
            continue
        name = place.toolchain.target
        details = {"target": name, "device": device.kind}
        if device.here:
            yield Finding("ok", "gpu", f"{name}: {device.description}", details=details)
        else:
            checking = invocation(f"check-{name}")
            remedy = f"artifacts are built; `{checking}` verifies them where the device is"
            through = f"; {device.emulation} runs its provider" if device.emulation else ""
            message = f"{name}: {device.absence}{through}"
            yield Finding("warning", "gpu", message, remedy, details)
