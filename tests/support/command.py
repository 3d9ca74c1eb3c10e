"""Runs Quern as its users do: as a process, seen through exit code and output alone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.process.exit_codes import describe_exit
from targets.cli.options import PROJECT


@dataclass(frozen=True)
class CommandResult:
    """How a command ended and what it said."""

    code: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Quern:
    """``python -m targets`` with a cache of the tests' own."""

    cache: Path

    def command(self, *arguments: str) -> list[str]:
        """Return the command line."""
        return [sys.executable, "-m", "targets", *arguments]

    def environment(self, changes: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return this process's environment with the tests' cache and ``changes``."""
        return {**os.environ, "QUERN_CACHE": str(self.cache), "COLUMNS": "200", **(changes or {})}

    def __call__(
        self, *arguments: str, environment: Mapping[str, str] | None = None, seconds: float = 850
    ) -> CommandResult:
        """Run a command to its end, which no signal may bring about."""
        done = subprocess.run(
            self.command(*arguments),
            cwd=PROJECT,
            env=self.environment(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode >= 0, f"{describe_exit(done.returncode)}\n{done.stderr[-3000:]}"
        return CommandResult(done.returncode, done.stdout, done.stderr)
