"""How many CPUs this process may use: fewer than the machine has, if it is pinned or limited."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def usable_cpus(cgroup: Path = _CGROUP) -> int:
    """Return the number of CPUs that affinity and the limit of the container leave, at least one.

    ``cgroup`` is where the limits of this process are mounted.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    limit = _limit(cgroup)
    return max(1, min(affinity or 1, int(limit) if limit is not None else affinity or 1))


def _limit(cgroup: Path) -> float | None:
    """Return the share of time in CPUs, of cgroups version 2 or 1; ``None`` without a limit.

    https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files
    """
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    if quota in ("max", "-1"):
        return None
    return int(quota) / int(period)
