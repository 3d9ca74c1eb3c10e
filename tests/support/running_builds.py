"""Builds in the background, to be stopped."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.support.project import Project
from tests.support.quick_builds import quick_project

SAYS_WHERE_IT_STANDS = {"PYTHONFAULTHANDLER": "1"}
"""The variables of a process that shows what its threads do when SIGABRT ends it."""


def slow_project(folder: Path, seed: int) -> Project:
    """Return a project whose fine-tuning, its last pass, lasts until it is stopped."""
    project = quick_project(folder, seed)
    project.edit("[passes.merge]\n\n[passes.model_builder]\n", "")
    project.edit("max_steps = 8", "max_steps = 100000\nkeep = 'last'")
    return project


class Running:
    """A build in the background whose output can be waited for."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)

    def wait_for(self, text: str, seconds: float = 300) -> None:
        self.wait_for_any(text, seconds=seconds)

    def wait_for_any(self, *texts: str, seconds: float = 300) -> None:
        """Return when a line holds one of ``texts``."""
        deadline = time.monotonic() + seconds

        def said() -> bool:
            return any(text in line for text in texts for line in self.lines)

        while not said():
            if self.process.poll() is not None:
                self._reader.join()
                assert said(), "".join(self.lines)
            assert time.monotonic() < deadline, "".join(self.lines)
            time.sleep(0.02)

    def finish(self, seconds: float) -> int:
        """Return the exit code. A build that has not ended in time says where it stands, if it runs
        with :data:`SAYS_WHERE_IT_STANDS`."""
        try:
            code = self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)
            self.process.wait(timeout=60)
            self._reader.join()
            pytest.fail(f"not ended after {seconds} s:\n{''.join(self.lines)}")
        self._reader.join()
        return code
