"""What a running build tells whoever shows it."""

from __future__ import annotations

from typing import Protocol

from pipeline.contract.events import Event
from targets.planner.build_plan import BuildPlan


class View(Protocol):
    """What the user sees of a running build."""

    def planned(self, plan: BuildPlan) -> None:
        """Show the steps, cached or to run."""

    def say(self, message: str) -> None:
        """Show a line."""

    def event(self, event: Event) -> None:
        """Show what a step says."""
