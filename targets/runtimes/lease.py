"""What ends the processes of a run together with their driver, however that ends.

The driver holds a lock on a file, its lease, and the kernel gives it back when the driver is gone:
killed, crashed or out of memory, and whatever the engine does at that moment. A small process
beside the steps waits for that lock.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

_WATCHED = """
import os, sys
lease, boot, *command = sys.argv[1:]
import _thread, ctypes, fcntl, resource, signal
own = os.getpid()
prctl = ctypes.CDLL(None).prctl
prctl(4, 0)
main = os.fork()
if not main:
    try:
        prctl(1, signal.SIGKILL)
        if os.getppid() == own:
            os.execvp(command[0], command)
    finally:
        os._exit(1)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
try:
    with open("/proc/sys/kernel/random/boot_id") as file:
        watches = file.read().strip() == boot
except OSError:
    watches = False
file = os.open(lease, os.O_RDONLY) if watches else None
for stream in range(3):
    os.close(stream)
def wait():
    fcntl.lockf(file, fcntl.LOCK_SH)
    if os.getpgid(0) == own:
        os.killpg(own, signal.SIGKILL)
    os.kill(main, signal.SIGKILL)
    os._exit(128 + signal.SIGKILL)
if watches:
    _thread.start_new_thread(wait, ())
ended = status = None
while ended != main:
    ended, status = os.wait()
if os.WIFSIGNALED(status):
    number = os.WTERMSIG(status)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    os.kill(own, number)
    os._exit(128 + number)
os._exit(os.WEXITSTATUS(status))
"""
"""Runs ``command``, waits for its end and ends as it did; if the lease is free before that, ends it
with its group. ``command`` ends with this process as well (PR_SET_PDEATHSIG).

Locks do not cross from one kernel to another: in the virtual machine of an engine nothing waits. In
a container this is the first process, which the kernel shields from signals of the others, and no
other can look into it (PR_SET_DUMPABLE); where nobody may write, a shared lock is all that they
can take, and two of them do not exclude each other. So no step can outlive its driver."""


def boot_id() -> str:
    """Return what tells this run of this machine's kernel from all others; empty if it has none."""
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except OSError:
        return ""


def watched(python: str, lease: str | None, *arguments: str) -> list[str]:
    """Return the command that runs ``python`` with ``arguments`` until the holder of ``lease``, a
    path in the process, is gone. Without a lease nobody watches."""
    command = [python, *arguments]
    return (
        command
        if lease is None
        else [python, "-I", "-S", "-c", _WATCHED, lease, boot_id(), *command]
    )


@contextmanager
def hold_lease(lease: Path) -> Iterator[bool]:
    """Hold ``lease``, a file that is made, while the block runs; yield whether that is possible.

    Some file systems of other machines have no locks, and Windows has others.
    """
    with lease.open("xb") as file:
        yield _lock(file)


def _lock(file: IO[bytes]) -> bool:
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        # No flock: whoever can read a file could take that lock from the one who watches.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
