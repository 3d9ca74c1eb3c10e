"""The interface between a running build and what shows it to the user."""

from __future__ import annotations

from typing import Protocol

from pipeline.contract.events import Event
from targets.planner.build_plan import BuildPlan


class View(Protocol):
    """Shows a running build to the user."""

    def planned(self, plan: BuildPlan) -> None:
        """Show the steps of a plan, both the cached ones and those that will run."""

    def say(self, message: str) -> None:
        """Show one line of text."""

    def event(self, event: Event) -> None:
        """Show an event of a running step."""
