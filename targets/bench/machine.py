"""This machine, and how busy it is: what a time without it would mean nothing."""

from __future__ import annotations

import os

import psutil

from targets.bench.model import BenchMachine
from targets.machine import cpu_name, system_name, usable_cores

_WATCHED_SECONDS = 0.5


def this_machine_now() -> BenchMachine:
    """Return this machine, watched for half a second to see how busy others keep it."""
    return BenchMachine(
        cpu=cpu_name(),
        cores=os.cpu_count() or 1,
        usable_cores=usable_cores(),
        memory_bytes=psutil.virtual_memory().total,
        system=system_name(),
        load_before=_load(),
        busy_before=round(psutil.cpu_percent(_WATCHED_SECONDS) / 100, 3),
    )


def when_done(machine: BenchMachine) -> BenchMachine:
    """Return ``machine`` with its load now."""
    return machine.model_copy(update={"load_after": _load()})


def _load() -> float | None:
    try:
        return round(psutil.getloadavg()[0], 2)
    except OSError:
        return None
