"""Scales and zero points of blocks of weights, and the integers nearest to weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Array = Any
"""A NumPy array: importing this module needs no NumPy."""


class Share(Protocol):
    """Runs a function for each of some pieces of work: see
    :meth:`pipeline.weights.threads.Threads.share`."""

    def __call__(self, run: Callable[[range], None], work: Sequence[range], /) -> None:
        """Run it for each piece of ``work``."""


@dataclass(frozen=True)
class Grid:
    """The integers that a block's weights are rounded to."""

    bits: int
    symmetric: bool
    """Whether zero is in the middle of the integers, for all blocks."""

    @property
    def largest(self) -> int:
        """Return the largest integer; the smallest is 0."""
        return (1 << self.bits) - 1

    @property
    def middle(self) -> int:
        """Return the zero point where all blocks have the same."""
        return 1 << (self.bits - 1)

    def range_of(self, blocks: Array, part: float = 1.0) -> tuple[Array, Array]:
        """Return scales (float16) and zero points (uint8) of ``blocks`` [..., block size], with
        which ``part`` of each block's range is that of the integers.

        Raises ``ValueError`` where weights are too large for such scales.
        """
        import numpy as np

        share = np.float32(part)
        low, high = blocks.min(axis=-1), blocks.max(axis=-1)
        if self.symmetric:
            # The end with one step more is for the weight of largest magnitude: a scale may be
            # negative.
            furthest = np.where(-low > high, low, high)
            scale = _usable(share * furthest / np.float32(-self.middle))
            return scale, np.full(scale.shape, self.middle, np.uint8)
        low, high = np.minimum(low, 0) * share, np.maximum(high, 0) * share
        scale = _usable((high - low) / np.float32(self.largest))
        zero = np.rint(-low / scale.astype(np.float32))
        # GPTQ's checkpoint format stores a zero point less one.
        return scale, np.clip(zero, 1, self.largest).astype(np.uint8)

    def rounded(self, blocks: Array, scale: Array, zero: Array) -> Array:
        """Return the weights of ``blocks`` [..., block size] after rounding, in float32."""
        import numpy as np

        wide, shift = scale.astype(np.float32)[..., None], zero.astype(np.float32)[..., None]
        whole = np.rint(blocks / wide)
        np.clip(whole, -shift, self.largest - shift, out=whole)
        whole *= wide
        return whole


def _usable(scale: Array) -> Array:
    """Return ``scale`` in fp16, with 1 for blocks that it has no scale for, whose weights are next
    to zero."""
    import numpy as np

    narrow = scale.astype(np.float16)
    if not np.isfinite(narrow).all():
        raise ValueError("its weights are too large for scales in fp16")
    return np.where(narrow == 0, np.float16(1), narrow)
