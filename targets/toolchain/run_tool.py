"""Runs the tools that make a toolchain (pip, uv, mmdebstrap), and turns failures into errors."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from pipeline.process.exit_codes import describe_exit
from pipeline.process.parent import end_with_parent
from targets.errors import EnvironmentUnable
from targets.toolchain.credentials import scrub

DISK_FULL = "No space left on device"


class ToolFailed(Exception):
    """A tool ended with an error; ``output`` is its output, without credentials."""

    def __init__(self, tool: str, code: int, output: str) -> None:
        super().__init__(f"{tool} ended with exit code {code}")
        self.output = output

    def last_line(self) -> str:
        """Return the last line of output that is not empty."""
        lines = [line.strip() for line in self.output.splitlines() if line.strip()]
        return lines[-1] if lines else str(self)


def run_tool(
    command: Sequence[str],
    *,
    tool: str,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    log: Path | None = None,
) -> str:
    """Run ``command`` and return its standard output.

    All of its output also goes to ``log``, without credentials. Raises :class:`ToolFailed` for a
    non-zero exit code, and ``EnvironmentUnable`` if the disk is full, the tool cannot be started or
    a signal ends it.
    """
    try:
        process = subprocess.run(
            list(command),
            env=None if environment is None else dict(environment),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            preexec_fn=partial(end_with_parent, os.getpid(), "SIGKILL")
            if sys.platform == "linux"
            else None,
        )
    except OSError as error:
        raise EnvironmentUnable(f"cannot start {tool}: {error.strerror}") from error
    output = scrub(f"{process.stdout}{process.stderr}")
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(output, encoding="utf-8")
    if process.returncode == 0:
        return process.stdout
    if DISK_FULL in output:
        raise EnvironmentUnable(f"the disk is full ({tool})", "free some space and run again", log)
    if process.returncode < 0:
        raise EnvironmentUnable(
            f"{tool} broke: {describe_exit(process.returncode)}", output.strip(), log
        )
    raise ToolFailed(tool, process.returncode, output)


def output_of(*command: str) -> str:
    """Return the output of ``command``; empty if it is not installed or fails."""
    try:
        process = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return process.stdout.strip() if process.returncode == 0 else ""
