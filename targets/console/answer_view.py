"""The view of the ``try`` command: streams the answer, without showing steps."""

from __future__ import annotations

from rich.console import Console

from pipeline.contract.events import Event, Text, Warned
from targets.planner.build_plan import BuildPlan


class AnswerView:
    """Streams generated text."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def planned(self, plan: BuildPlan) -> None:
        """Show nothing: there is no build."""

    def say(self, message: str) -> None:
        """Show a line, dimmed, because the answer is more important."""
        self._console.print(message, style="dim", markup=False, highlight=False, soft_wrap=True)

    def event(self, event: Event) -> None:
        """Show text as it comes, and warnings."""
        if isinstance(event, Text):
            self._console.print(event.text, end="", markup=False, highlight=False, soft_wrap=True)
        elif isinstance(event, Warned):
            self.say(f"warning: {event.message}")
