"""The live view on a terminal: one line per step, with progress, loss, seconds or ``cached``."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from types import TracebackType
from typing import Literal

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
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
from pipeline.contract.result import Status
from pipeline.verdicts.overall import status_of
from targets.console.estimate import Estimate
from targets.console.progress_words import progress_words
from targets.console.safe_console import SafeConsole
from targets.figures import duration
from targets.planner.build_plan import BuildPlan

_State = Literal["waiting", "running", "done", "cached", "broken"]

_MARKS: dict[Status | None, RichText] = {
    None: RichText("✓", "green"),
    "passed": RichText("✓", "green"),
    "unverified": RichText("?", "yellow"),
    "failed": RichText("✗", "red"),
}
"""What a check came to; a pass comes to nothing but its output."""

_BAR, _SHORT_BAR, _LEAST = 24, 12, 8
"""Cells of a bar where there is room, where figures would take it, and below which it says nothing.
"""
_WIDEST = 100
"""Columns beyond which nothing is spread."""
_GAP, _INDENT = "  ", "    "
_REFRESH_PER_SECOND = 8


@dataclass
class _Step:
    """What is known of a step while the build runs."""

    name: str
    state: _State
    status: Status | None = None
    reason: str = ""
    began: float = 0.0
    seconds: float | None = None
    progress: StepProgress | None = None
    left: str = ""
    estimate: Estimate | None = None
    spinner: Spinner = field(default_factory=lambda: Spinner("dots"))

    def advance(self, event: StepProgress) -> None:
        """Take newer progress."""
        now = time.monotonic()
        self.estimate = self.estimate or Estimate(event.done, now)
        self.progress, self.left = event, self.estimate.left(event, now)

    def mark(self) -> RichText:
        """Return the symbol of its state."""
        if self.state == "running":
            frame = self.spinner.render(time.monotonic())
            return frame if isinstance(frame, RichText) else RichText("*")
        if self.state == "waiting":
            return RichText("·", "dim")
        return _MARKS["failed" if self.state == "broken" else self.status]

    def time(self) -> str:
        """Return its seconds, so far or in all."""
        if self.state == "running":
            return duration(time.monotonic() - self.began)
        return "" if self.seconds is None else duration(self.seconds)

    def lines(self, width: int, name_width: int) -> Iterator[RichText]:
        """Yield its lines of at most ``width`` characters; nothing in them is cut."""
        begin = RichText.assemble(self.mark(), f" {self.name:<{name_width}}  ")
        end = self.time()
        room = min(width, _WIDEST) - begin.cell_len - len(end) - 2
        said, figures = list(self._said()), list(self._figures())
        first, rest = _as_many_as_fit([*said, *figures], room - (_SHORT_BAR if figures else 0))
        bar = self._bar(room - len(_GAP.join(first)) - len(_GAP))
        middle = RichText(_GAP).join([*bar, *(RichText(part, "dim") for part in first)])
        gap = " " * max(room + 2 - middle.cell_len, 1) if end else ""
        yield from RichText.assemble(begin, middle, gap, end).wrap(_NO_CONSOLE, width)
        while rest:
            more, rest = _as_many_as_fit(rest, width - len(_INDENT), at_least=1)
            for line in RichText(_GAP.join(more), "dim").wrap(_NO_CONSOLE, width - len(_INDENT)):
                yield RichText.assemble(_INDENT, line)

    def _said(self) -> Iterator[str]:
        """Yield what is said of its state."""
        if self.state == "waiting":
            yield self.reason
        elif self.state == "cached":
            yield self.reason or "cached"
        elif self.state == "broken":
            yield "broke" if self.progress is None else f"broke after {_count(self.progress)}"
        elif self.state == "done" and self.status in ("failed", "unverified"):
            yield self.status
        elif self.state == "running" and self.progress is not None:
            yield _count(self.progress)
            if self.left:
                yield self.left

    def _figures(self) -> Iterator[str]:
        """Yield what it measures while it runs."""
        if self.state == "running" and self.progress is not None:
            yield from progress_words(self.progress.metrics)

    def _bar(self, room: int) -> Iterator[RichText]:
        """Yield how far a running step is, if that is known and there is room to see it."""
        event, cells = self.progress, min(_BAR, room)
        if self.state == "running" and event is not None and event.total > 0 and cells >= _LEAST:
            filled = int(cells * min(max(event.done / event.total, 0.0), 1.0))
            yield RichText.assemble(
                ("━" * filled, "cyan"), ("━" * (cells - filled), "bright_black")
            )


_NO_CONSOLE = SafeConsole()
"""Wraps text, and shows nothing."""


@dataclass
class _Steps:
    """All steps of a build, drawn anew each time that they are shown."""

    steps: Sequence[_Step]
    whole: bool = False
    """Whether all are shown, however high the terminal is."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        name_width = max((len(step.name) for step in self.steps), default=0)
        width = options.max_width
        lines = [list(step.lines(width, name_width)) for step in self.steps]
        room = console.height - 1
        if self.whole or sum(map(len, lines)) <= room:
            yield from (line for of_step in lines for line in of_step)
            return
        for shared, group in groupby(zip(self.steps, lines, strict=True), key=_shared_word):
            members = list(group)
            if shared and len(members) > 1:
                yield RichText.assemble(members[0][0].mark(), f" {len(members)} steps {shared}")
            else:
                yield from (line for _, of_step in members for line in of_step)


class LiveView:
    """Draws all steps of a plan and keeps them up to date. Use as a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None
        self._shown = _Steps(())
        self._steps: dict[str, _Step] = {}

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
        if self._live is not None:
            self._shown.whole = True
            self._live.stop()
            self._live = None
            self._steps = {}

    @property
    def picture(self) -> RenderableType:
        """Return the steps as they are shown at the moment."""
        return self._shown

    def planned(self, plan: BuildPlan) -> None:
        """Show all steps of ``plan``."""
        self.close()
        self._console.print(f"[bold]{escape(plan.build)}[/] for [bold]{escape(plan.target)}[/]")
        for note in plan.notes:
            self._console.print(f"[yellow]note:[/] {escape(note)}")
        missing = {planned.step.name for planned in plan.missing}
        for planned in plan.steps:
            name, cached = planned.step.name, planned.cached
            self._steps[name] = _Step(
                name,
                "waiting" if name in missing else "cached",
                None if cached is None else status_of(cached.result),
                planned.reason,
            )
        self._shown = _Steps(tuple(self._steps.values()))
        self._live = Live(
            self._shown, console=self._console, refresh_per_second=_REFRESH_PER_SECOND
        )
        self._live.start()

    def say(self, message: str) -> None:
        """Show a line above the steps."""
        self._console.print(message, markup=False, highlight=False)

    def event(self, event: Event) -> None:
        """Show an event of a step."""
        if isinstance(event, Text):
            self._console.print(event.text, end="", markup=False, highlight=False)
            return
        if isinstance(event, (Warned, Noted)):
            kind = "warning" if isinstance(event, Warned) else "note"
            self.say(f"{kind}: {event.step}: {event.message}")
            return
        step = self._steps.get(event.step)
        if step is None:
            return
        match event:
            case StepStarted():
                step.state, step.began = "running", time.monotonic()
            case StepProgress():
                step.advance(event)
            case StepFinished():
                step.state, step.status, step.seconds = "done", event.status, event.seconds
            case StepFailed():
                step.state, step.seconds = "broken", time.monotonic() - step.began


def _count(event: StepProgress) -> str:
    return f"{event.done}/{event.total} {event.unit}"


def _as_many_as_fit(
    parts: Sequence[str], room: int, at_least: int = 0
) -> tuple[list[str], list[str]]:
    """Return the first ``parts`` that fit beside each other, and the others."""
    taken = at_least
    while taken < len(parts) and len(_GAP.join(parts[: taken + 1])) <= room:
        taken += 1
    return list(parts[:taken]), list(parts[taken:])


def _shared_word(entry: tuple[_Step, list[RichText]]) -> str:
    """Return the word for steps that share a line where there is no room for all; empty for one
    that has its own."""
    step, _ = entry
    if step.state in ("done", "cached") and step.status in (None, "passed"):
        return "done"
    return "wait" if step.state == "waiting" else ""
