"""AWQ: scales a matrix's inputs so that rounding its weights changes its products less.

Lin et al., "AWQ: Activation-aware Weight Quantization for LLM Compression and Acceleration" (arXiv
2306.00978). A weight ``w`` that is rounded as ``s w``, and whose input is divided by ``s``, has an
error smaller by ``s``, as long as the scale of its block stays what it is. So inputs with large
numbers get a larger ``s``. Tried are the paper's ``s = x^a`` with the typical size ``x`` of an
input, and ``s = x^a / w^(1 - a)`` with that of its weights, as the authors' code has it.

Two things are not the paper's. The error is the expected one, ``sum_j (v_j - w_j)^2 x_j^2``, for
rounding errors that do not depend on each other. So blocks of weights do not either: each has an
``a`` of its own, and then one factor of it after the other is changed a little where that helps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.builder.grid import Grid, Share

Array = Any
"""A NumPy array: importing this module needs no NumPy."""

_STEPS = 10
"""From the smallest exponent ``a``, 0, to the largest, 1."""
_PARTS = 4
"""Factors between two powers of two, evenly spaced by their logarithms."""
_LARGEST = 4 * _PARTS
"""Exponent of the largest factor, 16: larger ones would bring fp16 to its limits."""
_SMALLEST = 1e-4
"""Size of an input or weight, as a part of the largest, below which it counts as that small."""


def factors(exponents: Array) -> Array:
    """Return the factors ``2^(e / 4)``, float32, the same on any CPU."""
    import numpy as np

    half = math.sqrt(2)
    between = np.array([1, math.sqrt(half), half, half * math.sqrt(half)], np.float32)
    wide = exponents.astype(np.int32)
    return np.ldexp(between[wide % _PARTS], wide // _PARTS)


@dataclass(frozen=True)
class Reader:
    """A matrix whose inputs are scaled, in pieces where several inputs share a factor."""

    weight: Array
    """[pieces, outputs, inputs], float32."""
    squares: Array
    """[pieces, inputs]: the sum of the squares of each input."""


@dataclass(frozen=True)
class Scales:
    """What was found for matrices that read the same."""

    exponents: Array
    """[inputs], int8: the columns are to be multiplied by the :func:`factors` of these."""
    error: float
    """By how much rounding is expected to change the products then, relative to their size."""
    plain_error: float
    """The same without factors."""


@dataclass(frozen=True)
class Awq:
    """How matrices will be rounded."""

    bits: int
    block_size: int
    symmetric: bool

    def scales(self, readers: Sequence[Reader], share: Share) -> Scales:
        """Return the best factors that are found for ``readers``, which read the same.

        Raises ``ValueError`` where a weight or an input is not finite.
        """
        import numpy as np

        if not all(
            np.isfinite(part).all() for one in readers for part in (one.weight, one.squares)
        ):
            raise ValueError("its weights or inputs are NaN or infinite")
        # Each matrix counts by what it changes of its own products, however large these are.
        shares = [_shares(one) for one in readers]
        size = self.block_size
        blocks = readers[0].weight.shape[-1] // size
        exponents = np.zeros((blocks, size), np.int8)
        errors = np.zeros((2, blocks))

        def some(part: range) -> None:
            for number in part:
                at = slice(number * size, (number + 1) * size)
                block = _Block(
                    Grid(self.bits, self.symmetric),
                    [np.ascontiguousarray(one.weight[..., at]) for one in readers],
                    [one[:, None, at] for one in shares],
                )
                exponents[number], *errors[:, number] = block.searched()

        share(some, [range(number, number + 1) for number in range(blocks)])
        error, plain = np.sqrt(errors.sum(axis=1) / len(readers))
        return Scales(exponents.reshape(-1), float(error), float(plain))


def _shares(reader: Reader) -> Array:
    """Return the squares of the inputs, as parts of those of the products."""
    import numpy as np

    products = ((reader.weight**2).sum(axis=1, dtype=np.float64) * reader.squares).sum()
    return (reader.squares / products if products > 0 else reader.squares * 0).astype(np.float32)


@dataclass(frozen=True)
class _Block:
    """The weights of one block of inputs, of all readers."""

    grid: Grid
    weights: Sequence[Array]
    """[pieces, outputs, block size] of each reader."""
    squares: Sequence[Array]
    """[pieces, 1, block size] of each reader."""

    def searched(self) -> tuple[Array, float, float]:
        """Return the best exponents, and the errors with and without them."""
        import numpy as np

        plain = best = self._error(found := np.zeros(self.weights[0].shape[-1], np.int8))
        for tried in self._by_sizes():
            error = self._error(tried)
            if error < best:
                best, found = error, tried
        for at in range(len(found)):
            for step in (1, -1):
                tried = found.copy()
                tried[at] += step
                if abs(tried[at]) <= _LARGEST and (error := self._error(tried)) < best:
                    best, found = error, tried
                    break
        return found, best, plain

    def _error(self, exponents: Array) -> float:
        """Return the sum of squared errors, weighted by the inputs, which are divided."""
        factor = factors(exponents)
        total = 0.0
        for weight, squares in zip(self.weights, self.squares, strict=True):
            scaled = weight * factor
            error = self.grid.rounded(scaled, *self.grid.range_of(scaled))
            error -= scaled
            error *= error
            total += float((error.sum(axis=1, keepdims=True) * (squares / factor**2)).sum())
        return total

    def _by_sizes(self) -> Iterator[Array]:
        """Yield the exponents of the paper's search."""
        import numpy as np

        inputs = _logarithm(np.sqrt(sum(one.sum(axis=(0, 1)) for one in self.squares)))
        weights = _logarithm(sum(np.abs(one).mean(axis=(0, 1)) for one in self.weights))
        for step in range(_STEPS + 1):
            part = step / _STEPS
            for wanted in (part * inputs, part * inputs - (1 - part) * weights):
                centred = np.rint(_PARTS * (wanted - wanted.mean()))
                yield np.clip(centred, -_LARGEST, _LARGEST).astype(np.int8)


def _logarithm(sizes: Array) -> Array:
    """Return the binary logarithms of ``sizes``, straight between powers of two: near enough to be
    rounded, and the same on any CPU."""
    import numpy as np

    largest = sizes.max()
    kept = np.maximum(sizes, largest * _SMALLEST) if largest > 0 else np.ones_like(sizes)
    mantissas, exponents = np.frexp(kept)
    return exponents + (2 * mantissas - 2)
