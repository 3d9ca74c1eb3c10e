"""This machine, and how busy it is: what a time without it would mean nothing."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from pathlib import Path

import psutil

from targets.bench.model import Machine

_CPU_INFO = Path("/proc/cpuinfo")
_WATCHED_SECONDS = 0.5


def this_machine_now() -> Machine:
    """Return this machine, watched for half a second to see how busy others keep it."""
    return Machine(
        cpu=_cpu(),
        cores=os.cpu_count() or 1,
        usable_cores=_usable(),
        memory_bytes=psutil.virtual_memory().total,
        system=f"{platform.system()} {platform.release()}, {platform.machine()}",
        load_before=_load(),
        busy_before=round(psutil.cpu_percent(_WATCHED_SECONDS) / 100, 3),
    )


def when_done(machine: Machine) -> Machine:
    """Return ``machine`` with its load now."""
    return machine.model_copy(update={"load_after": _load()})


def _cpu() -> str:
    with suppress(OSError):
        for line in _CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("model name", "Model"):
                return value.strip()
    return platform.processor() or platform.machine()


def _usable() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _load() -> float | None:
    try:
        return round(psutil.getloadavg()[0], 2)
    except OSError:
        return None
