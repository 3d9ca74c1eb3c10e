"""How long a step will take still."""

from __future__ import annotations

import pytest

from pipeline.contract.events import StepProgress
from targets.console.estimate import Estimate


@pytest.mark.parametrize(
    ("done", "seconds", "said"),
    [
        (10, 100.0, ""),  # nothing done since the first report
        (20, 160.0, "about 8 min left"),  # ten in a minute: eighty take eight
        (97, 610.0, ""),  # less than half a minute is not worth saying
        (100, 640.0, ""),
    ],
)
def test_what_is_left_takes_as_long_as_what_was_done(done: int, seconds: float, said: str) -> None:
    event = StepProgress(step="evaluate-base", done=done, total=100)
    assert Estimate(10, 100.0).left(event, seconds) == said
