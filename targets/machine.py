"""What kind of machine this is; nothing that names it."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from pathlib import Path

from pipeline.config.schema import Resources

_CPU_INFO = Path("/proc/cpuinfo")


def cpu_name() -> str:
    """Return the model of the CPU, as the system calls it."""
    with suppress(OSError):
        for line in _CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("model name", "Model"):
                return value.strip()
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """Return how many CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads(resources: Resources) -> int:
    """Return how many threads the libraries may use."""
    if resources.threads is not None:
        return resources.threads
    machine = usable_cores()
    if resources.cpus is not None:
        return max(1, min(int(resources.cpus), machine))
    return machine


def system_name() -> str:
    """Return operating system and architecture: ``Linux 6.1.0, x86_64``."""
    return f"{platform.system()} {platform.release()}, {platform.machine()}"
