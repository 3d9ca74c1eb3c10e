"""What a container of a step may do and use, whichever engine runs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from targets.runtimes.runtime import ProcessLimits

HOME = "/tmp"  # noqa: S108 - a private tmpfs
"""The folder in which a step may write what nobody reads afterwards."""

_PIDS = 4096
_SHARED_MEMORY = "1g"
_MEMORY_SHARE = 0.9
"""Share of the engine's memory that a container gets at most."""


def confinement() -> dict[str, Any]:
    """Return arguments of docker-py's ``containers.create``: a read-only root, no capabilities."""
    return {
        "entrypoint": [],
        "working_dir": HOME,
        "read_only": True,
        "tmpfs": {HOME: "rw,nosuid,nodev,mode=1777"},
        "cap_drop": ["ALL"],
        "pids_limit": _PIDS,
        "shm_size": _SHARED_MEMORY,
        "init": True,
    }


def limits(info: Mapping[str, Any], resources: ProcessLimits) -> dict[str, Any]:
    """Return such arguments for the limits of the config; whatever that says of memory, a container
    may not take so much that the machine has none left. ``info`` is what the engine says of itself.
    """
    memory, cpus = memory_limit(info, resources), resources.cpus
    swap = memory if memory == resources.memory_bytes else -1
    chosen: dict[str, Any] = {"mem_limit": memory, "memswap_limit": swap}
    if cpus is not None and cpus < int(info["NCPU"]):
        chosen["nano_cpus"] = round(cpus * 1e9)
    return chosen


def memory_limit(info: Mapping[str, Any], resources: ProcessLimits) -> int:
    """Return the memory limit in bytes of a container."""
    most = int(info["MemTotal"] * _MEMORY_SHARE)
    return min(resources.memory_bytes or most, most)
