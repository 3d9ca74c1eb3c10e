"""Who runs a run: the driver process, by host, process id and start time.

A run's id says so, and so does everything it leaves on the engine or on disk. What belongs to a
driver that is gone (killed, power cut) can thus be found and removed.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

import psutil

_RUN_ID = re.compile(r"^(?P<host>.+)-(?P<pid>\d+)-(?P<started>\d+)-[0-9a-f]{8}$")


@dataclass(frozen=True)
class Driver:
    """One driver process. ``started`` is its start time in milliseconds since the epoch."""

    host: str
    pid: int
    started: int

    @property
    def gone(self) -> bool:
        """Return whether it ran on this machine and runs no more. False for other machines."""
        if self.host != _host():
            return False
        try:
            return _started(self.pid) != self.started
        except psutil.NoSuchProcess:
            return True


def new_run_id() -> str:
    """Return an id for a run of this process, fit for container and folder names."""
    pid = os.getpid()
    return f"{_host()}-{pid}-{_started(pid)}-{secrets.token_hex(4)}"


def driver_of(run_id: str) -> Driver | None:
    """Return the driver that made ``run_id``, or ``None`` if it is no run id."""
    found = _RUN_ID.match(run_id)
    if found is None:
        return None
    return Driver(found["host"], int(found["pid"]), int(found["started"]))


def remove_orphaned_folders(runs: Path) -> None:
    """Remove the run folders below ``runs`` whose driver is gone."""
    for folder in runs.glob("*"):
        driver = driver_of(folder.name)
        if driver is not None and driver.gone:
            shutil.rmtree(folder, ignore_errors=True)


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9_.]", "_", socket.gethostname()) or "unnamed"


def _started(pid: int) -> int:
    return round(psutil.Process(pid).create_time() * 1000)
