"""What several rows of tokens begin with."""

from __future__ import annotations

from collections.abc import Sequence


def common_prefix(rows: Sequence[Sequence[int]]) -> int:
    """Return how many tokens all ``rows`` begin with, leaving each at least one more."""
    shortest = min(map(len, rows))
    same = (len(set(column)) == 1 for column in zip(*rows, strict=False))
    return min(next((at for at, one in enumerate(same) if not one), shortest), shortest - 1)
