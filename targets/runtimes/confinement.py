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
"""Share of the engine's memory that a container gets if the config sets no limit."""


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
    """Return such arguments for the limits of the config; without one for memory, a container may
    not take so much that the machine has none left. ``info`` is what the engine says of itself."""
    chosen: dict[str, Any] = {}
    memory, cpus = resources.memory_bytes, resources.cpus
    if memory is not None:
        chosen.update(mem_limit=memory, memswap_limit=memory)
    else:
        chosen.update(mem_limit=default_memory(info), memswap_limit=-1)
    if cpus is not None and cpus < int(info["NCPU"]):
        chosen["nano_cpus"] = round(cpus * 1e9)
    return chosen


def default_memory(info: Mapping[str, Any]) -> int:
    """Return the memory limit in bytes of a container for which the config sets none."""
    return int(info["MemTotal"] * _MEMORY_SHARE)
