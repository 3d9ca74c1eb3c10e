"""Whole processes, measured from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_FIRST_TO_GO = "1000"
"""Written to ``oom_score_adj``, has the kernel kill this process before others (man 5 proc)."""


@dataclass(frozen=True)
class Cost:
    """What a process took."""

    seconds: float
    """Wall time from its start to its end."""
    peak_bytes: int
    """Largest resident set; mapped files count where they are in memory."""
    ending: str = ""
    """Why it did not do its work; empty where it did."""

    @property
    def worked(self) -> bool:
        """Return whether it did its work."""
        return not self.ending


def run(
    command: Sequence[str | Path],
    environment: Mapping[str, str],
    log: Path,
    folder: Path,
    also_well: Collection[int] = (),
) -> Cost:
    """Run ``command`` in ``folder`` to its end; its output goes to ``log``.

    It worked if its exit code is 0 or one of ``also_well``.
    The peak is that of the largest of its processes (``getrusage(2)``: ``ru_maxrss``).
    """
    with log.open("wb") as output:
        began = time.perf_counter()
        process = subprocess.Popen(
            [str(word) for word in command],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        # A process that fills the memory must not take others with it.
        Path(f"/proc/{process.pid}/oom_score_adj").write_text(_FIRST_TO_GO)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    code = 0 if process.returncode in also_well else process.returncode
    return Cost(seconds, usage.ru_maxrss * 1024, _ending(code, log))


def _ending(code: int, log: Path) -> str:
    if code == 0:
        return ""
    if code == -signal.SIGKILL:
        return "killed: out of memory"
    last = log.read_text(errors="replace").strip().rpartition("\n")[2]
    return f"failed ({code}): {last[:200]}"
