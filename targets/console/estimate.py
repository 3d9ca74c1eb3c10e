"""Estimates how long a step will take still, from its progress."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.contract.events import StepProgress

_LEAST_SECONDS = 30.0
"""Less than this is not worth saying."""


@dataclass(frozen=True)
class Estimate:
    """The first progress that a step reported, from which on its speed is measured."""

    done: int
    seconds: float
    """When, on any clock."""

    def left(self, event: StepProgress, seconds: float) -> str:
        """Return ``about 3 min left`` at ``seconds``; empty while that is not known, or little.

        As much is assumed to take as long as it did so far.
        """
        since = event.done - self.done
        if since <= 0 or event.total <= event.done:
            return ""
        rest = (seconds - self.seconds) / since * (event.total - event.done)
        return f"about {math.ceil(rest / 60)} min left" if rest >= _LEAST_SECONDS else ""
