"""Whether a step processed a model's weights one by one, or held all of them in memory."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class WeightsMode:
    """How weights were processed. Its text is the step's figure ``weights`` in the report."""

    reason: str = ""
    """Why all weights were in memory at once; empty if they were processed one by one."""

    @property
    def warning(self) -> str:
        """The warning for the user if all weights were in memory."""
        return f"all weights are held in memory at once: {self.reason}"

    def __str__(self) -> str:
        return f"at once: {self.reason}" if self.reason else "one by one"


ONE_BY_ONE = WeightsMode()
