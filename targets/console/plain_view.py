"""Plain lines with timings for logs, folded into groups where the CI system supports it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass

from rich.console import Console

from pipeline.contract.events import (
    Event,
    Noted,
    StepFailed,
    StepFinished,
    StepProgress,
    StepStarted,
    Text,
    Warned,
)
from pipeline.contract.result import Status
from pipeline.verdicts.overall import status_of
from targets.console.ci_service import CiService, ci_service
from targets.console.estimate import Estimate
from targets.console.progress_words import progress_words
from targets.figures import duration
from targets.foreign_text import harmless, one_line
from targets.planner.build_plan import BuildPlan

_PROGRESS_EVERY_SECONDS = 10.0

_MARKS: Mapping[Status | None, str] = {None: "✓", "passed": "✓", "unverified": "?", "failed": "✗"}
"""What a check came to; a pass comes to nothing but its output."""


@dataclass(frozen=True)
class Folding:
    """The lines with which a CI system folds output into groups.

    ``{name}`` and ``{now}`` (Unix time in seconds) are filled in.
    """

    start: str
    end: str

    def opening(self, name: str) -> str:
        """Return the line that opens the group ``name``."""
        return self.start.format(name=name, now=int(time.time()))

    def closing(self, name: str) -> str:
        """Return the line that closes it."""
        return self.end.format(name=name, now=int(time.time()))


# https://docs.github.com/actions/reference/workflow-commands-for-github-actions
_GITHUB = Folding("::group::{name}", "::endgroup::")
# https://learn.microsoft.com/azure/devops/pipelines/scripts/logging-commands
_AZURE = Folding("##[group]{name}", "##[endgroup]")
# https://docs.gitlab.com/ci/jobs/job_logs/#custom-collapsible-sections
_GITLAB = Folding(
    "\x1b[0Ksection_start:{now}:{name}\r\x1b[0K{name}",
    "\x1b[0Ksection_end:{now}:{name}\r\x1b[0K",
)


_FOLDINGS: Mapping[CiService, Folding] = {"github": _GITHUB, "gitlab": _GITLAB, "azure": _AZURE}


def folding_for(environment: Mapping[str, str]) -> Folding | None:
    """Return the folding of the CI service that ``environment`` belongs to, if it has one."""
    service = ci_service(environment)
    return None if service is None else _FOLDINGS[service]


class PlainView:
    """One line when a step starts, one when it ends, progress now and then.

    What a step says meanwhile is folded. Its warnings are not: nobody opens groups to look for one.
    """

    def __init__(self, console: Console, folding: Folding | None = None) -> None:
        self._console = console
        self._folding = folding or folding_for(os.environ)
        self._group = ""
        """Name of the group that is open, if one is."""
        self._said_at = 0.0
        self._metrics = ""
        self._estimate: Estimate | None = None

    def planned(self, plan: BuildPlan) -> None:
        """Show the cached steps; the others are shown when they start."""
        self._line(f"{plan.build} for {plan.target}")
        for note in plan.notes:
            self._line(f"note: {note}")
        missing = {planned.step.name for planned in plan.missing}
        for planned in plan.steps:
            if planned.step.name not in missing:
                status = None if planned.cached is None else status_of(planned.cached.result)
                self._line(f"{_MARKS[status]} {planned.step.name:<20} {planned.reason}")

    def say(self, message: str) -> None:
        """Show a line."""
        self._line(message.replace("\n", "\n  "))

    def event(self, event: Event) -> None:
        """Show an event of a step."""
        match event:
            case StepStarted():
                self._said_at = time.monotonic()
                self._metrics = ""
                self._estimate = None
                self._line(f"{event.step} ...")
            case StepProgress():
                self._progress(event)
            case StepFinished():
                self._unfold()
                mark, took = _MARKS[event.status], duration(event.seconds)
                came_to = f"  {event.status}" if event.status in ("failed", "unverified") else ""
                self._line(f"{mark} {event.step:<20} {took:>12}{came_to}{self._metrics}")
            case StepFailed():
                self._unfold()
                self._line(f"✗ {event.step}")
            case Warned():
                self._unfold()
                self._line(f"warning: {event.step}: {event.message}")
            case Noted():
                self._fold(event.step)
                self._line(f"note: {event.step}: {event.message}")
            case Text():
                self._unfold()
                self._console.print(event.text, end="", markup=False, highlight=False)

    def _progress(self, event: StepProgress) -> None:
        self._metrics = "".join(f"  {words}" for words in progress_words(event.metrics))
        now = time.monotonic()
        self._estimate = self._estimate or Estimate(event.done, now)
        if now - self._said_at < _PROGRESS_EVERY_SECONDS:
            return
        self._said_at = now
        self._fold(event.step)
        left = self._estimate.left(event, now)
        figures = f"{event.done}/{event.total} {event.unit}{self._metrics}"
        self._line(f"  {event.step} {figures}{left and f'  {left}'}")

    def _fold(self, step: str) -> None:
        """Have what follows in the group of ``step``."""
        if self._folding is not None and not self._group:
            self._group = harmless(one_line(step))
            self._command(self._folding.opening(self._group))

    def _unfold(self) -> None:
        """Have what follows in no group."""
        if self._folding is not None and self._group:
            self._command(self._folding.closing(self._group))
            self._group = ""

    def _command(self, line: str) -> None:
        """Write a line that the CI system shall act on, which the console would not let through."""
        self._console.file.write(f"{line}\n")
        self._console.file.flush()

    def _line(self, text: str) -> None:
        # In a log, a line is one that can be searched; a terminal would break it within words.
        whole = not self._console.is_terminal
        self._console.print(text, markup=False, highlight=False, soft_wrap=whole)
