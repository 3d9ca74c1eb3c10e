"""How much memory this process can still take."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_MACHINE = Path("/proc/meminfo")
_PROCESS = Path("/proc/self/status")
_GROUPS = Path("/sys/fs/cgroup")
"""Where a container sees its own control group."""


class _Names(NamedTuple):
    """Files of a control group."""

    limit: str
    used: str
    kinds: str
    files: str
    """Entry of ``kinds`` with the files that can be dropped."""


_NAMES = (
    _Names("memory.max", "memory.current", "memory.stat", "inactive_file"),
    _Names(
        "memory/memory.limit_in_bytes",
        "memory/memory.usage_in_bytes",
        "memory/memory.stat",
        "total_inactive_file",
    ),
)
"""Of version 2 and of version 1: https://docs.kernel.org/admin-guide/cgroup-v2.html and
https://docs.kernel.org/admin-guide/cgroup-v1/memory.html"""


def available_memory() -> int | None:
    """Return the bytes that are free on this machine and within the limits of this container and
    of this process (``ulimit``); ``None`` where the system does not say."""
    found = [room for room in (_on_machine(), room_in_group()) if room is not None]
    return min([*found, *_in_process()], default=None)


def _on_machine() -> int | None:
    with suppress(OSError):
        for line in _MACHINE.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def _in_process() -> Iterator[int]:
    """Yield what is left of each limit that this process has; Windows has none."""
    if sys.platform == "win32":
        return
    import resource

    with suppress(OSError):
        limits = {"VmData:": resource.RLIMIT_DATA, "VmSize:": resource.RLIMIT_AS}
        for line in _PROCESS.read_text().splitlines():
            name, *values = line.split()
            limit = resource.getrlimit(limits[name])[0] if name in limits else None
            if limit not in (None, resource.RLIM_INFINITY):
                yield int(limit) - int(values[0]) * 1024


def room_in_group(folder: Path = _GROUPS) -> int | None:
    """Return what is left of the limit of this process's control group, of version 2 or 1; mapped
    files count as free, since they can be dropped. ``None`` where there is no limit."""
    for names in _NAMES:
        with suppress(OSError, ValueError):
            limit = int((folder / names.limit).read_text())
            used = int((folder / names.used).read_text())
            lines = (line.split() for line in (folder / names.kinds).read_text().splitlines())
            kinds = {name: int(size) for name, size in lines}
            return limit - used + kinds.get(names.files, 0)
    return None
