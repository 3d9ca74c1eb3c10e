"""Identifies the driver process of a run: by machine, boot, process ID and start.

These are part of the run's ID, which marks its containers and folders. So those of a driver that no
longer exists (killed, power cut) can be found and removed. No clock is in it: one that is set
would make a driver that runs look like another.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

from targets.atomic import remove_tree
from targets.runtimes.lease import boot_id

_RUN_ID = re.compile(
    r"^(?P<host>.+)-b(?P<boot>[0-9a-f]*)-n(?P<space>\d+_\d+)-p(?P<pid>\d+)-s(?P<started>\d+)-[0-9a-f]{8}$"
)
_STARTED = 19
"""Which of the fields behind the name in ``/proc/PID/stat`` is the start, in ticks since the boot
(``man 5 proc``)."""

_ENDED = ("Z", "X")
"""States of a process that has ended, though the one that started it has not asked how."""


@dataclass(frozen=True)
class Driver:
    """One driver process."""

    host: str
    boot: str
    """Which boot of the machine it belongs to."""
    space: str
    """In which of the kernel's namespaces its process ID counts, and in which its start."""
    pid: int
    started: int
    """When it started, by a clock of the kernel's that nobody sets."""

    @property
    def gone(self) -> bool:
        """Return whether it ran on this machine and has ended. False where that cannot be known:
        for other machines, and containers beside this one."""
        if self.host != _host():
            return False
        if self.boot != _boot():
            return True
        if self.space != _space():
            return False
        try:
            return _started(self.pid) != self.started
        except ProcessLookupError:
            return True


def this_driver() -> Driver:
    """Return the driver that this process is."""
    pid = os.getpid()
    return Driver(_host(), _boot(), _space(), pid, _started(pid))


def new_run_id() -> str:
    """Return an ID for a run of this process, valid in container and folder names."""
    one = this_driver()
    place = f"{one.host}-b{one.boot}-n{one.space}"
    return f"{place}-p{one.pid}-s{one.started}-{secrets.token_hex(4)}"


def driver_of(run_id: str) -> Driver | None:
    """Return the driver of the run ``run_id``; ``None`` if it is no run ID."""
    match = _RUN_ID.match(run_id)
    if match is None:
        return None
    return Driver(
        match["host"], match["boot"], match["space"], int(match["pid"]), int(match["started"])
    )


def orphaned_folders(runs: Path) -> tuple[Path, ...]:
    """Return the run folders below ``runs`` whose driver no longer exists."""
    drivers = {folder: driver_of(folder.name) for folder in runs.glob("*")}
    return tuple(folder for folder, driver in drivers.items() if driver and driver.gone)


def remove_orphaned_folders(runs: Path) -> None:
    """Remove those folders."""
    for folder in orphaned_folders(runs):
        remove_tree(folder)


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9_.]", "_", socket.gethostname()) or "unnamed"


def _boot() -> str:
    return boot_id().replace("-", "")[:12]


def _space() -> str:
    return f"{_namespace('pid')}_{_namespace('time')}"


def _namespace(kind: str) -> int:
    try:
        return Path(f"/proc/self/ns/{kind}").stat().st_ino
    except OSError:
        return 0


def _started(pid: int) -> int:
    """Return when a process started. Raises ``ProcessLookupError``."""
    stat = Path(f"/proc/{pid}/stat")
    if not Path("/proc/self/stat").exists():
        return _started_without_proc(pid)
    try:
        _, _, fields = stat.read_text("utf-8", "replace").rpartition(")")
    except OSError:
        raise ProcessLookupError(pid) from None
    state, *_ = values = fields.split()
    if state in _ENDED:
        raise ProcessLookupError(pid)
    return int(values[_STARTED])


def _started_without_proc(pid: int) -> int:
    import psutil

    try:
        return round(psutil.Process(pid).create_time() * 1000)
    except psutil.NoSuchProcess:
        raise ProcessLookupError(pid) from None
