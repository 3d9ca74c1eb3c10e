"""What the end of a step's process means: success, or an error with its remedy."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path

from pipeline.events import StepFailed
from targets.errors import EnvironmentUnable, PassFailed, QuernError

_SIGNALLED = 128
"""Exit codes of processes that a signal ended are counted from here, as shells do."""

_TAIL_BYTES = 16_384
_TAIL_LINES = 8

_MORE_MEMORY = "raise `resources.memory` in the build config, or choose a smaller batch or model"


@dataclass(frozen=True)
class Ending:
    """How a step's process ended."""

    exit_code: int
    """As a shell counts it: 128 + the number of the signal that ended it."""
    step: str | None
    """The step that was at work."""
    failure: StepFailed | None
    """What the process said itself."""
    log: Path
    out_of_memory: bool = False
    """Whether the kernel killed a process of it for lack of memory."""
    memory_bytes: int | None = None
    """The memory limit it ran under."""

    def check(self) -> None:
        """Return if the process ended well, else raise ``PassFailed`` or ``EnvironmentUnable``."""
        if self.exit_code == 0 and self.failure is None:
            return
        raise self._error()

    def _error(self) -> QuernError:
        if self.out_of_memory:
            return self._no_memory()
        if self.failure is not None:
            return self._told(self.failure)
        step = self._step()
        if self.exit_code in (_SIGNALLED + signal.SIGKILL, _SIGNALLED + signal.SIGTERM):
            name = signal.Signals(self.exit_code - _SIGNALLED).name
            return PassFailed(
                f"{step} was killed from outside ({name})",
                "run again: it goes on from the last finished step",
                self.log,
            )
        return PassFailed(f"{step} broke: {self._how()}", _tail(self.log), self.log)

    def _told(self, failure: StepFailed) -> QuernError:
        message = f"{failure.step}: {failure.message}"
        if failure.cause == "disk_full":
            hint = failure.hint or "free some space, or move the cache with `--cache`"
            return EnvironmentUnable(message, hint, self.log)
        if failure.cause == "network":
            hint = failure.hint or "check the network and the proxy, then run again"
            return EnvironmentUnable(message, hint, self.log)
        hint = failure.hint or (_MORE_MEMORY if failure.cause == "out_of_memory" else "")
        return PassFailed(message, hint, self.log)

    def _no_memory(self) -> PassFailed:
        limit = ""
        if self.memory_bytes is not None:
            limit = f" (limit {self.memory_bytes / 2**30:.1f} GiB)"
        return PassFailed(f"{self._step()} ran out of memory{limit}", _MORE_MEMORY, self.log)

    def _step(self) -> str:
        return self.step if self.step is not None else "the process"

    def _how(self) -> str:
        number = self.exit_code - _SIGNALLED
        if number in {int(known) for known in signal.Signals}:
            return f"ended by {signal.Signals(number).name}"
        return f"exit code {self.exit_code} without a word why"


def _tail(log: Path) -> str:
    """Return the last lines of ``log``, to be shown with the error."""
    try:
        with log.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    last = [line.rstrip() for line in lines if line.strip()][-_TAIL_LINES:]
    return "\n".join(["the log ends with:", *(f"  {line}" for line in last)]) if last else ""
