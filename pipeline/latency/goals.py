"""Goals of the ``latency`` check: limits of a figure, for one kind of prompts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.latency.prompts import SHORT
from pipeline.verdicts.goals import Goal


class LatencyGoal(Goal):
    """A goal, and the kind of prompts that it is about."""

    prompt: Literal["short"] | Annotated[int, Field(ge=1)] = SHORT
    """Kind of prompts: ``"short"`` for those of the data, or a number for made-up ones of that many
    tokens, e.g. ``1024``."""

    @property
    def name(self) -> str:
        """Return the name of its verdict."""
        parts = (self.metric, self.statistic, self._at, self._versus)
        return "_".join(filter(None, parts))

    @property
    def _at(self) -> str:
        return "" if self.prompt == SHORT else f"at_{self.prompt}"

    @property
    def kind(self) -> str:
        """Return the name of the kind of prompts."""
        return str(self.prompt)
