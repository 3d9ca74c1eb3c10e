"""Describes this machine and its load, without which times mean little."""

from __future__ import annotations

import os

import psutil

from targets.bench.bench_schema import BenchMachine
from targets.machine import cpu_name, system_name, usable_cores

_WATCHED_SECONDS = 0.5


def describe_machine() -> BenchMachine:
    """Return this machine, with its load by other processes over half a second."""
    return BenchMachine(
        cpu=cpu_name(),
        cores=os.cpu_count() or 1,
        usable_cores=usable_cores(),
        memory_bytes=psutil.virtual_memory().total,
        system=system_name(),
        load_before=_load(),
        busy_before=round(psutil.cpu_percent(_WATCHED_SECONDS) / 100, 3),
    )


def with_final_load(machine: BenchMachine) -> BenchMachine:
    """Return ``machine`` with its current load."""
    return machine.model_copy(update={"load_after": _load()})


def _load() -> float | None:
    try:
        return round(psutil.getloadavg()[0], 2)
    except OSError:
        return None
