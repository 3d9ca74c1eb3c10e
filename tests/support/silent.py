"""A reporter of steps that says nothing."""

from __future__ import annotations


class Silent:
    """A reporter that says nothing and keeps warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def progress(self, done: int, total: int, unit: str = "steps", **metrics: float) -> None:
        """Say nothing."""

    def warn(self, message: str) -> None:
        """Keep it."""
        self.warnings.append(message)

    def note(self, message: str) -> None:
        """Say nothing."""

    def text(self, text: str) -> None:
        """Say nothing."""
