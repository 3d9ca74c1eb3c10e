"""Identifies the driver process of a run by host, process ID and start time.

These are part of the run's ID, which marks its containers and folders. So those of a driver that no
longer exists (killed, power cut) can be found and removed.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

import psutil

from targets.atomic import remove_tree

_RUN_ID = re.compile(r"^(?P<host>.+)-(?P<pid>\d+)-(?P<started>\d+)-[0-9a-f]{8}$")


@dataclass(frozen=True)
class Driver:
    """One driver process. ``started`` is its start time in milliseconds since the epoch."""

    host: str
    pid: int
    started: int

    @property
    def gone(self) -> bool:
        """Return whether it ran on this machine and has ended. False for other machines."""
        if self.host != _host():
            return False
        try:
            return _started(self.pid) != self.started
        except psutil.NoSuchProcess:
            return True


def new_run_id() -> str:
    """Return an ID for a run of this process, valid in container and folder names."""
    pid = os.getpid()
    return f"{_host()}-{pid}-{_started(pid)}-{secrets.token_hex(4)}"


def driver_of(run_id: str) -> Driver | None:
    """Return the driver of the run ``run_id``; ``None`` if it is no run ID."""
    match = _RUN_ID.match(run_id)
    if match is None:
        return None
    return Driver(match["host"], int(match["pid"]), int(match["started"]))


def remove_orphaned_folders(runs: Path) -> None:
    """Remove the run folders below ``runs`` whose driver no longer exists."""
    for folder in runs.glob("*"):
        driver = driver_of(folder.name)
        if driver is not None and driver.gone:
            remove_tree(folder)


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9_.]", "_", socket.gethostname()) or "unnamed"


def _started(pid: int) -> int:
    return round(psutil.Process(pid).create_time() * 1000)
