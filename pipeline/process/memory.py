"""How much memory this process can still take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_MACHINE = Path("/proc/meminfo")
_PROCESS = Path("/proc/self/status")
_GROUP = Path("/sys/fs/cgroup")
"""That of the container, or of the machine (cgroup v2)."""


def available_memory() -> int | None:
    """Return the bytes that are free on this machine and within the limits of this container and
    of this process (``ulimit``); ``None`` where the system does not say."""
    found = [room for room in (_on_machine(), _in_group()) if room is not None]
    return min([*found, *_in_process()], default=None)


def _on_machine() -> int | None:
    with suppress(OSError):
        for line in _MACHINE.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def _in_process() -> Iterator[int]:
    """Yield what is left of each limit that this process has."""
    with suppress(ImportError, OSError):
        import resource

        limits = {"VmData:": resource.RLIMIT_DATA, "VmSize:": resource.RLIMIT_AS}
        for line in _PROCESS.read_text().splitlines():
            name, *values = line.split()
            limit = resource.getrlimit(limits[name])[0] if name in limits else None
            if limit not in (None, resource.RLIM_INFINITY):
                yield int(limit) - int(values[0]) * 1024


def _in_group() -> int | None:
    """Return what is left of the limit; mapped files count as free, since they can be dropped."""
    with suppress(OSError, ValueError):
        limit = int((_GROUP / "memory.max").read_text())
        used = int((_GROUP / "memory.current").read_text())
        lines = (line.split() for line in (_GROUP / "memory.stat").read_text().splitlines())
        files = {name: int(size) for name, size in lines}
        return limit - used + files.get("inactive_file", 0)
    return None
