"""Packs training rows into sequences of several, so that little of a batch is padding."""

from __future__ import annotations

from array import array
from collections.abc import Sequence


def pack(lengths: Sequence[int], max_length: int) -> list[array[int]]:
    """Return the rows of each bin, by their indices: first-fit decreasing.

    A bin has at most ``max_length`` tokens; a longer row has one by itself. Deterministic, and in
    time in proportion to the rows but for a logarithm: a tree over the bins knows the most room in
    each half, so that the first with enough is found from the top. The rows of a bin stay separate
    sequences for the attention mask.
    """
    first = 1 << max(len(lengths) - 1, 0).bit_length()
    room = array("q", [max_length]) * (2 * first)
    bins: list[array[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        needed = min(lengths[row], max_length)
        at = 1
        while at < first:
            at = 2 * at if room[2 * at] >= needed else 2 * at + 1
        # The first bin with room that has no row yet is the next one.
        if at - first == len(bins):
            bins.append(array("q"))
        bins[at - first].append(row)
        room[at] -= needed
        while at > 1:
            at //= 2
            room[at] = max(room[2 * at], room[2 * at + 1])
    return bins
