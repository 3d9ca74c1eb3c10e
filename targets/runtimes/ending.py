"""Interprets the end of a step's process: success, or an error with its remedy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.contract.events import StepFailed
from pipeline.process.exit_codes import describe_exit, has_crashed, signal_of
from targets.disk import free_at
from targets.errors import (
    EnvironmentUnable,
    InputRefused,
    PassFailed,
    ProcessCrashed,
    QuernError,
)
from targets.figures import duration
from targets.version import invocation

_TAIL_BYTES = 16_384
_TAIL_LINES = 8

_OLD_CPU = (
    "its libraries use an instruction that this CPU lacks: "
    f"`{invocation('doctor')}` says what the CPU has"
)
_MORE_MEMORY = "raise `resources.memory` in the build config, or choose a smaller batch or model"
_MORE_DISK = "free some space, or move the cache with `--cache`"
_ALMOST_FULL = 2**20
"""Free bytes below which a process that ended without a word could not write one."""
_MORE_TIME = "where it did not hang, raise `resources.step_hours` in the build config"


@dataclass(frozen=True)
class Ending:
    """How a step's process ended."""

    exit_code: int
    """Exit code in the convention of :mod:`subprocess` or of a container engine."""
    step: str | None
    """The step that was running."""
    failure: StepFailed | None
    """The failure that the process reported itself."""
    log: Path
    out_of_memory: bool = False
    """Whether the kernel killed one of its processes for lack of memory."""
    memory_bytes: int | None = None
    """Its memory limit."""
    time_limit: float | None = None
    """The time in seconds that its step had, if it was ended for taking longer."""

    def check(self) -> None:
        """Raise ``PassFailed`` or ``EnvironmentUnable`` unless the process succeeded."""
        if self.exit_code == 0 and self.failure is None:
            return  # also where its time ended at that very moment
        raise self._error()

    def _error(self) -> QuernError:
        if self.time_limit is not None:
            message = f"{self._step()} was stopped: it took longer than {duration(self.time_limit)}"
            return PassFailed(message, _MORE_TIME, self.log)
        if self.out_of_memory:
            return self._no_memory()
        if self.failure is not None:
            return self._reported(self.failure)
        step = self._step()
        ended_by = signal_of(self.exit_code)
        if ended_by in ("SIGKILL", "SIGTERM"):
            return PassFailed(
                f"{step} was killed from outside ({ended_by})",
                "run again: it goes on from the last finished step",
                self.log,
            )
        if free_at(self.log.parent) < _ALMOST_FULL:
            message = f"{step} broke: the disk of {self.log.parent} is full"
            return EnvironmentUnable(message, _MORE_DISK, self.log)
        how = describe_exit(self.exit_code)
        if not ended_by:
            how += " without a word why"
        remedy = _OLD_CPU if ended_by == "SIGILL" else ""
        hint = "\n".join(text for text in (remedy, _tail(self.log)) if text)
        if has_crashed(self.exit_code):
            return ProcessCrashed(step, how, hint, self.log)
        return PassFailed(f"{step} broke: {how}", hint, self.log)

    def _reported(self, failure: StepFailed) -> QuernError:
        message = f"{failure.step}: {failure.message}"
        if failure.cause == "disk_full":
            hint = failure.hint or _MORE_DISK
            return EnvironmentUnable(message, hint, self.log)
        if failure.cause in ("network", "peer"):
            hint = failure.hint or "check the network and the proxy, then run again"
            return EnvironmentUnable(message, hint, self.log)
        if failure.cause == "bad_input":
            return InputRefused(message, failure.hint, self.log)
        hint = failure.hint or (_MORE_MEMORY if failure.cause == "out_of_memory" else "")
        return PassFailed(message, hint, self.log)

    def _no_memory(self) -> PassFailed:
        limit = ""
        if self.memory_bytes is not None:
            limit = f" (limit {self.memory_bytes / 2**30:.1f} GiB)"
        return PassFailed(f"{self._step()} ran out of memory{limit}", _MORE_MEMORY, self.log)

    def _step(self) -> str:
        return self.step if self.step is not None else "the process"


def _tail(log: Path) -> str:
    """Return the last lines of ``log``, for the error message."""
    try:
        with log.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    last = [line.rstrip() for line in lines if line.strip()][-_TAIL_LINES:]
    return "\n".join(["the log ends with:", *(f"  {line}" for line in last)]) if last else ""
