"""Measures how much of the CPUs other work takes while something is timed.

Load by others makes times longer, and differently so from one moment to the next. It shows in what
the kernel counts: CPU time that was used, less what this process and its children used, and the
time that a hypervisor gave to other machines (steal).
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from pydantic import JsonValue

from pipeline.contract.result import PROVISIONAL
from pipeline.contract.step import Reporter

BUSY = 0.1
"""Share of the CPUs from which on times say more of the machine's other work."""

_STAT = Path("/proc/stat")
"""https://man7.org/linux/man-pages/man5/proc_stat.5.html"""
_USED = ("user", "nice", "system", "irq", "softirq", "steal")
_FIELDS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")


class LoadWatch:
    """Watches the CPUs that this process may use, from its creation on. Children count as its own
    once they have ended."""

    def __init__(self, stat: Path = _STAT) -> None:
        self._stat = stat
        self._cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
        self._began = time.monotonic()
        self._used_before, self._own_before = self._used(), _own_seconds()

    def share_of_others(self) -> float | None:
        """Return the share of the CPUs' time that others used, between 0 and 1; ``None`` where the
        system does not say."""
        used, seconds = self._used(), time.monotonic() - self._began
        if used is None or self._used_before is None or used <= 0 or seconds <= 0:
            return None
        others = used - self._used_before - (_own_seconds() - self._own_before)
        return min(1.0, max(0.0, others / (seconds * len(self._cpus))))

    def _used(self) -> float | None:
        """Return the seconds that the CPUs have worked for anyone since the system started."""
        if sys.platform == "win32" or not self._stat.is_file() or not self._cpus:
            return None
        names = {f"cpu{number}" for number in self._cpus}
        rows = [line.split() for line in self._stat.read_text("ascii").splitlines()]
        counted = (
            dict(zip(_FIELDS, map(int, row[1:]), strict=False)) for row in rows if names & {row[0]}
        )
        ticks = sum(fields.get(name, 0) for fields in counted for name in _USED)
        return ticks / os.sysconf("SC_CLK_TCK")


def busy_note(share: float | None) -> str:
    """Return what to say of the share of others; empty if it is unknown or small."""
    if share is None or share < BUSY:
        return ""
    return f"other work took {share:.0%} of the CPUs meanwhile"


def provisional(busy: str, report: Reporter) -> dict[str, JsonValue]:
    """Return what a step adds to its metrics or its evidence if the machine was ``busy``, and warn:
    the next build does not take its result."""
    if not busy:
        return {}
    report.warn(f"{busy}: times are longer than they need be, and the next build measures anew")
    return {PROVISIONAL: busy}


def _own_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
