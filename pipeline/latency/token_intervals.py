"""Times the tokens of an answer, with nothing imported that takes time itself."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator


def token_intervals_ms(tokens: Iterator[int]) -> list[float]:
    """Consume ``tokens`` and return the time until each, from the previous one, in milliseconds."""
    times = [time.perf_counter()]
    for _ in tokens:
        times.append(time.perf_counter())  # noqa: PERF401 - a comprehension would time itself
    return [1000 * (end - start) for start, end in itertools.pairwise(times)]
