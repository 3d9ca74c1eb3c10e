"""Decides whether a figure changed, did not change, or whether neither can be said.

A time changed if the 95 % interval of its ratio excludes 1, also after correction for the number of
comparisons, and the change is larger than the smallest one of interest. Holm's step-down method
limits the probability of any false alarm among all comparisons to 5 %, however they depend on each
other (S. Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of
Statistics 6, 1979). Limiting the rate of false discoveries instead would not suffice: if nothing
changed, every discovery is a false alarm.

A time did not change if the interval is within the smallest change of interest, or if it includes 1
and is narrow. In all other cases the verdict is ``unsure``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from pipeline.statistics.intervals import Interval
from pipeline.statistics.paired import Paired, compare_paired
from targets.bench.bench_schema import ChangeVerdict, Range, RecordedAnswer

SMALLEST_RATIO = 0.03
"""Default for times: a change below 3 % is of no interest."""
WIDEST_RATIO = 0.05
"""Times count as equal only if the interval of their ratio is within this distance of 1."""
SMALLEST_SHARE = 0.01
"""Smallest change of interest of a share: one percentage point."""
WIDEST_SHARE = 0.05
SMALLEST_SIZE = 0.01
"""Smallest change of interest of a size, which is exact: one percent."""
MEMORY_NOISE = 0.05
"""Peak memory of one process differs by a few percent from run to run (allocator, threads)."""

ALPHA = 0.05


class Judgement(NamedTuple):
    """A verdict, and the reason for it."""

    word: ChangeVerdict
    why: str


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p values adjusted by Holm's step-down method, in the order given."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def paired_p_value(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the two-sided p value of Student's paired t test of the logarithms.

    1 if there is a single pair. The corresponding interval is
    :func:`pipeline.statistics.intervals.ratio_interval`.
    """
    logs = [math.log(one / other) for one, other in zip(ours, theirs, strict=True)]
    if len(logs) < 2:
        return 1.0
    if max(logs) == min(logs):
        return 1.0 if logs[0] == 0 else 0.0
    from scipy import stats

    return float(stats.ttest_1samp(logs, 0.0).pvalue)


def unpaired_p_value(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the two-sided p value of Welch's t test of the logarithms.

    1 if a group has a single value. The corresponding interval is
    :func:`pipeline.statistics.intervals.welch_interval`.
    """
    first, second = ([math.log(value) for value in group] for group in (ours, theirs))
    if min(len(first), len(second)) < 2:
        return 1.0
    if max(first) == min(first) and max(second) == min(second):
        return 1.0 if first[0] == second[0] else 0.0
    from scipy import stats

    return float(stats.ttest_ind(first, second, equal_var=False).pvalue)


def paired_answers(
    ours: Sequence[RecordedAnswer], theirs: Sequence[RecordedAnswer]
) -> Paired | None:
    """Compare two models by their answers; ``None`` unless the prompts were exactly the same."""
    old = {(row.file, row.line): row for row in theirs}
    new = {(row.file, row.line): row for row in ours}
    if not new or old.keys() != new.keys():
        return None
    if any(old[place].expected != row.expected for place, row in new.items()):
        return None
    return compare_paired([row.right for row in new.values()], [old[place].right for place in new])


def independent_shares(ours: Interval, theirs: Interval) -> Interval:
    """Return the difference ``d = p1 - p2`` of two independent shares, with its interval.

    From the Wilson intervals ``(l, u)`` of the shares, the interval is
    ``d - sqrt((p1 - l1)^2 + (u2 - p2)^2)`` to ``d + sqrt((u1 - p1)^2 + (p2 - l2)^2)`` (R. Newcombe,
    Statistics in Medicine 17, 1998, 873-890, method 10).
    """
    value = ours.value - theirs.value
    below = math.hypot(ours.value - ours.low, theirs.high - theirs.value)
    above = math.hypot(ours.high - ours.value, theirs.value - theirs.low)
    return Interval(value, value - below, value + above)


def judge_time(change: Range, p_value: float, adjusted: float, smallest: float) -> Judgement:
    """Judge the ratio ``new / old`` of a time; above 1 is slower."""
    if change.low is None or change.high is None:
        return Judgement("unsure", "a single round has no interval")
    low, high = change.low, change.high
    real = adjusted <= ALPHA
    beyond = not 1 / (1 + smallest) <= change.value <= 1 + smallest
    if real and beyond:
        word: ChangeVerdict = "slower" if change.value > 1 else "faster"
        return Judgement(word, "real")
    if 1 / (1 + smallest) <= low and high <= 1 + smallest:
        return Judgement("equal", f"within ±{_percent(smallest)}")
    if real:
        return Judgement("equal", f"real, and less than {_percent(smallest)} as measured")
    if p_value <= ALPHA:
        return Judgement("unsure", "may be chance among so many comparisons")
    if low >= 1 / (1 + WIDEST_RATIO) and high <= 1 + WIDEST_RATIO:
        return Judgement("equal", "no real change found")
    return Judgement("unsure", "too noisy to tell")


def judge_share(change: Range, real: bool) -> Judgement:
    """Judge ``new - old`` of a share; higher is better. ``real`` says if it differs at all."""
    assert change.low is not None and change.high is not None  # noqa: S101 - shares have ends
    if real and abs(change.value) >= SMALLEST_SHARE:
        return Judgement("better" if change.value > 0 else "worse", "real")
    if change.low >= -SMALLEST_SHARE and change.high <= SMALLEST_SHARE:
        return Judgement("equal", f"within ±{_points(SMALLEST_SHARE)}")
    if real:
        return Judgement("equal", f"real, and less than {_points(SMALLEST_SHARE)}")
    if change.low >= -WIDEST_SHARE and change.high <= WIDEST_SHARE:
        return Judgement("equal", "no real change found")
    return Judgement("unsure", "too few samples to tell")


def judge_size(old: int, new: int) -> Judgement:
    """Judge sizes in bytes, which are exact."""
    difference = f"{new - old:+,} bytes"
    if old == new:
        return Judgement("equal", "the same number of bytes")
    if abs(new / old - 1) < SMALLEST_SIZE:
        return Judgement("equal", f"{difference}, less than {_percent(SMALLEST_SIZE)}")
    return Judgement("larger" if new > old else "smaller", difference)


def judge_memory(old: int, new: int) -> Judgement:
    """Judge peaks of memory in bytes, which are noisy."""
    noise = _percent(MEMORY_NOISE)
    if 1 / (1 + MEMORY_NOISE) <= new / old <= 1 + MEMORY_NOISE:
        return Judgement("equal", f"within the noise of {noise}")
    return Judgement("more" if new > old else "less", f"beyond the noise of {noise}")


def _percent(share: float) -> str:
    return f"{100 * share:g} %"


def _points(share: float) -> str:
    return f"{100 * share:g} points"
