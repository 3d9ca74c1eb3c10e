"""The live view on a terminal: one line per step, with progress, loss, seconds or ``cached``."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
)
from rich.text import Text as RichText
from typing_extensions import Self

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
from targets.console.estimate import Estimate
from targets.figures import duration
from targets.planner.build_plan import BuildPlan


class _StateColumn(ProgressColumn):
    """A symbol for the state: waiting, running, done, cached or failed."""

    def __init__(self) -> None:
        super().__init__()
        self._spinner = SpinnerColumn("dots")

    def render(self, task: Task) -> RichText:
        """Return the mark of ``task``."""
        mark = {
            "waiting": RichText("·", "dim"),
            "done": RichText("✓", "green"),
            "cached": RichText("✓", "cyan"),
            "failed": RichText("✗", "red"),
        }.get(task.fields["state"])
        if mark is not None:
            return mark
        frame = self._spinner.render(task)
        return frame if isinstance(frame, RichText) else RichText("…")


class _TimeColumn(ProgressColumn):
    """Seconds since the start, or the final time."""

    def render(self, task: Task) -> RichText:
        """Return the time of ``task``."""
        if task.fields["state"] == "cached":
            return RichText("cached", "cyan", justify="right")
        seconds = task.fields["seconds"] if task.fields["seconds"] is not None else task.elapsed
        return RichText("" if seconds is None else duration(seconds), justify="right")


class LiveView:
    """Draws all steps of a plan and keeps them up to date. Use as a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._estimates: dict[str, Estimate] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop updating, with the last state on the screen."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
            self._tasks = {}
            self._estimates = {}

    def planned(self, plan: BuildPlan) -> None:
        """Show all steps of ``plan``."""
        self.close()
        self._console.print(f"[bold]{escape(plan.build)}[/] for [bold]{escape(plan.target)}[/]")
        for note in plan.notes:
            self._console.print(f"[yellow]note:[/] {escape(note)}")
        self._progress = Progress(
            _StateColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[figures]}", style="dim", markup=False),
            _TimeColumn(),
            console=self._console,
        )
        missing = {planned.step.name for planned in plan.missing}
        for planned in plan.steps:
            runs = planned.step.name in missing
            self._tasks[planned.step.name] = self._progress.add_task(
                planned.step.name,
                start=False,
                total=1,
                completed=0 if runs else 1,
                state="waiting" if runs else "cached",
                figures="" if planned.reason == "cached" else planned.reason,
                seconds=None,
            )
        self._progress.start()

    def say(self, message: str) -> None:
        """Show a line above the steps."""
        console = self._progress.console if self._progress is not None else self._console
        console.print(message, markup=False, highlight=False, soft_wrap=True)

    def event(self, event: Event) -> None:
        """Show an event of a step."""
        if isinstance(event, Text):
            self._console.print(event.text, end="", markup=False, highlight=False)
            return
        if isinstance(event, (Warned, Noted)):
            kind = "warning" if isinstance(event, Warned) else "note"
            self.say(f"{kind}: {event.step}: {event.message}")
            return
        if self._progress is None or event.step not in self._tasks:
            return
        task = self._tasks[event.step]
        match event:
            case StepStarted():
                self._progress.update(task, state="running", figures="", total=None)
                self._progress.start_task(task)
            case StepProgress():
                now = time.monotonic()
                estimate = self._estimates.setdefault(event.step, Estimate(event.done, now))
                figures = "  ".join(
                    [f"{event.done}/{event.total} {event.unit}"]
                    + [f"{name} {value:.3g}" for name, value in event.metrics.items()]
                    + ([left] if (left := estimate.left(event, now)) else [])
                )
                self._progress.update(
                    task, total=event.total, completed=event.done, figures=figures
                )
            case StepFinished():
                self._progress.stop_task(task)
                self._progress.update(
                    task, state="done", total=1, completed=1, seconds=event.seconds
                )
            case StepFailed():
                self._progress.stop_task(task)
                self._progress.update(task, state="failed")
