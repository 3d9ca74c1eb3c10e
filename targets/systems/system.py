"""The interfaces of systems and of the jobs that they run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from pipeline.contract.file_digest import FileDigest
from targets.devices.device import Device
from targets.runtimes.runtime import RuntimeName
from targets.systems.task import Material, Task
from targets.toolchain.toolchain import Toolchain, ToolchainRecord

Say = Callable[[str], None]


@dataclass(frozen=True)
class Piece:
    """The next piece of a job's standard output, and where the one after it begins."""

    data: bytes
    offset: str
    """What :meth:`Job.read` goes on from; only the system knows what it means."""


@dataclass(frozen=True)
class JobState:
    """What has become of a job."""

    phase: Literal["queued", "running", "ended", "gone"]
    """``gone``: the system does not know it, or no longer."""
    exit_code: int | None = None
    """That of its process, once it has ended; a negative one is a signal."""
    out_of_memory: bool = False
    error: str = ""
    """What the system says went wrong with it."""
    cost: str = ""
    """What the system says that it took and costs, in words."""


@dataclass(frozen=True)
class Kept:
    """A finished step that a system keeps: its files as the system has read and hashed them."""

    tree: str
    """Digest of the tree of its result and its output."""
    result: bytes
    """What its process wrote as :data:`~pipeline.contract.result.RESULT_FILE`."""
    files: tuple[FileDigest, ...]
    """Those of its output."""


class JobGone(Exception):
    """The job is not there any more: it was removed, or nobody asked after it for too long."""


class Job(Protocol):
    """One process that a system runs, or has run. It outlives the driver's connection."""

    id: str

    def attended(self) -> AbstractContextManager[None]:
        """While the block runs, let the system know that somebody waits for the job."""

    def detach(self) -> None:
        """Let it run, and keep what it makes, although nobody waits for it."""

    def read(self, offset: str = "") -> Iterator[Piece]:
        """Yield its standard output from ``offset`` until it has ended, also across connections
        that drop. Raises :class:`JobGone`."""

    def read_log(self) -> Iterator[bytes]:
        """Yield its standard error: what libraries say."""

    def state(self) -> JobState:
        """Return what has become of it."""

    def stop(self) -> None:
        """End its process; what it has finished stays until :meth:`cancel`."""

    def collect(self, key: str, folder: Path) -> bool:
        """Bring the finished step ``key`` to ``folder``, which is made; return whether there is
        one.

        Nothing that comes is believed: it is for :mod:`targets.intake`. Raises ``PassFailed``.
        """

    def leave(self, key: str) -> Kept | None:
        """Have the system keep the finished step ``key`` for the jobs to come; return what it
        keeps. ``None`` if there is no such step, or no room.

        Raises ``PassFailed`` for what no step leaves.
        """

    def cancel(self) -> None:
        """End it, remove all that it left, and return when that is so."""


class System(Protocol):
    """A place where plans run: another machine's engine, a cluster, a service."""

    name: str

    @property
    def runtime(self) -> RuntimeName:
        """Return what steps run in there."""

    @property
    def where(self) -> str:
        """Return what it is, in words: ``box (ssh://me@box)``."""

    def require(self, toolchain: Toolchain) -> str:
        """Return, in words, whether it has ``toolchain``, or where it comes from. Nothing is sent.

        Raises ``EnvironmentUnable`` if steps cannot run there.
        """

    def prepare(self, toolchain: Toolchain, say: Say) -> ToolchainRecord:
        """Make the toolchain ready there. Raises ``EnvironmentUnable``."""

    def device(self, kind: str, toolchain: Toolchain) -> Device:
        """Return the device ``kind`` of that place, for use with ``toolchain``."""

    def limits_note(self) -> str:
        """Return what it cannot enforce; empty if it enforces all."""

    def has(self, tree: str) -> bool:
        """Return whether it still has the files of that digest. Raises ``EnvironmentUnable``."""

    def submit(
        self, job_id: str, toolchain: Toolchain, task: Task, material: Material, say: Say
    ) -> Job:
        """Send what is not there yet, and start the job; one that was started before is returned
        as it is. Raises ``EnvironmentUnable``."""

    def job(self, job_id: str) -> Job:
        """Return the job ``job_id``, whether it is there or not."""

    def close(self) -> None:
        """Close the connection, if there is one."""
