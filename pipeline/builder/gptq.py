"""GPTQ: rounds a matrix so that its products with typical inputs change least.

Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers"
(arXiv 2210.17323). A row ``w`` of weights is rounded to ``v`` such that ``(w - v) H (w - v)^T`` is
small, where ``H = X^T X`` for inputs ``X`` [tokens, inputs]. One input after the other is rounded,
and what that changes is made up for by those that are not rounded yet:

    ``w_j -= (w_i - v_i) / U_ii * U_ij`` for ``j > i``, with ``H^-1 = U^T U``

and an upper triangular ``U``. The inputs with the largest ``H_ii`` come first ("act order"). Scales
and zero points are chosen before, block by block as they lie in memory ("static groups"), so that
any runtime reads the result. Outputs are rounded independently of each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pipeline.builder.grid import Grid, Share
from pipeline.weights.integers import Integers

Array = Any
"""A NumPy array: importing this module needs no NumPy."""

_AT_ONCE = 64
"""Inputs between two products that make up for what was rounded."""
_OUTPUTS = 256
"""Outputs that are rounded at once: few enough to stay in the CPU's cache, and as many for any
number of threads, since a product of another shape may have other last bits."""
_LEAF = 64
"""Size of a triangular matrix that is inverted as a whole."""
_SHRUNK = tuple(1 - 0.02 * step for step in range(16))
"""Parts of a block's range that are tried as the range of the integers: few weights that are cut
off can cost less than coarser steps for all."""


@dataclass(frozen=True)
class Gptq:
    """How a matrix is rounded."""

    bits: int
    block_size: int
    symmetric: bool
    """Whether zero is in the middle of the integers, for all blocks."""
    damping: float
    """What is added to the diagonal of ``H``, as a part of its mean."""

    def rounded(self, weight: Array, gram: Array, share: Share) -> Integers:
        """Return ``weight`` [outputs, inputs], float32, rounded for inputs with ``gram``, their
        ``X^T X`` [inputs, inputs] in float64.

        Raises ``ValueError`` where one of them is not finite.
        """
        import numpy as np

        if not (np.isfinite(weight).all() and np.isfinite(gram).all()):
            raise ValueError("its weights or inputs are NaN or infinite")
        importance = np.diagonal(gram)
        order = np.argsort(-importance, kind="stable")
        factor = self._factor(gram[np.ix_(order, order)]).astype(np.float32)
        outputs, inputs = weight.shape
        blocks = inputs // self.block_size
        values = np.empty((outputs, inputs), np.uint8)
        scales, zeros = (
            np.empty((outputs, blocks), np.float16),
            np.empty((outputs, blocks), np.uint8),
        )

        def some(rows: range) -> None:
            part = slice(rows.start, rows.stop)
            scale, zero = self._chosen(weight[part], importance)
            scales[part], zeros[part] = scale, zero
            block_of = order // self.block_size
            found = self._in_order(
                np.ascontiguousarray(weight[part, order].T),
                scale.astype(np.float32).T[block_of],
                zero.astype(np.float32).T[block_of],
                factor,
            )
            values[part, order] = found.T

        share(some, list(_pieces(outputs)))
        return Integers(values, scales, zeros, self.bits, self.block_size)

    def nearest(self, weight: Array, scales: Array, zeros: Array) -> Array:
        """Return ``weight`` with each number rounded by itself, with the ``scales`` and ``zeros``
        of a rounded matrix."""
        blocks = weight.reshape(len(weight), -1, self.block_size)
        return self._grid.rounded(blocks, scales, zeros).reshape(weight.shape)

    @cached_property
    def _grid(self) -> Grid:
        return Grid(self.bits, self.symmetric)

    def _factor(self, gram: Array) -> Array:
        """Return ``U`` of the inverse of ``gram``, whose diagonal is raised.

        With the order of the inputs turned round, Cholesky's lower factor becomes an upper one:
        ``H = R R^T``, and so ``H^-1 = R^-T R^-1`` with ``U = R^-1``.
        """
        import numpy as np

        mean = float(np.diagonal(gram).mean())
        gram[np.diag_indices(len(gram))] += self.damping * mean if mean > 0 else 1.0
        lower = np.linalg.cholesky(gram[::-1, ::-1])
        return _inverse_of_upper(np.ascontiguousarray(lower[::-1, ::-1]))

    def _in_order(self, weight: Array, scale: Array, zero: Array, factor: Array) -> Array:
        """Return the integers of ``weight`` [inputs, outputs], which is changed; scales and zero
        points are one for each weight."""
        import numpy as np

        inputs = len(weight)
        values = np.empty(weight.shape, np.uint8)
        for first in range(0, inputs, _AT_ONCE):
            last = min(first + _AT_ONCE, inputs)
            errors = np.empty((last - first, weight.shape[1]), np.float32)
            for at in range(first, last):
                whole = np.rint(weight[at] / scale[at]) + zero[at]
                np.clip(whole, 0, self._grid.largest, out=whole)
                values[at] = whole
                error = (weight[at] - (whole - zero[at]) * scale[at]) / factor[at, at]
                errors[at - first] = error
                weight[at + 1 : last] -= factor[at, at + 1 : last, None] * error
            weight[last:] -= factor[first:last, last:].T @ errors
        return values

    def _chosen(self, weight: Array, importance: Array) -> tuple[Array, Array]:
        """Return scales and zero points of ``weight`` [outputs, inputs]: for each block those, of
        some that are tried, with the smallest sum of squared errors weighted by ``importance``."""
        import numpy as np

        outputs, inputs = weight.shape
        blocks = weight.reshape(outputs, inputs // self.block_size, self.block_size)
        weights = importance.astype(np.float32).reshape(1, -1, self.block_size)
        # Inputs that were always zero count little, not nothing: other texts may have them.
        weights = weights + np.float32(self.damping) * weights.mean() + np.float32(1e-30)
        best = np.full(blocks.shape[:2], np.inf, np.float32)
        scales = np.ones(blocks.shape[:2], np.float16)
        zeros = np.full(blocks.shape[:2], self._grid.middle, np.uint8)
        for part in _SHRUNK:
            scale, zero = self._grid.range_of(blocks, part)
            error = ((self._grid.rounded(blocks, scale, zero) - blocks) ** 2 * weights).sum(axis=2)
            better = error < best
            for kept, new in ((best, error), (scales, scale), (zeros, zero)):
                np.copyto(kept, new, where=better)
        return scales, zeros


def error_of(weight: Array, rounded: Array, gram: Array) -> float:
    """Return by how much ``rounded`` changes the products of ``weight`` with inputs of ``gram``:
    the root of ``|X (W - V)^T|^2 / |X W^T|^2``."""
    import numpy as np

    def size(matrix: Array) -> float:
        return float(np.vdot(matrix @ inputs, matrix))

    inputs = gram.astype(np.float32)
    whole = size(weight)
    return (max(size(weight - rounded), 0.0) / whole) ** 0.5 if whole > 0 else 0.0


def _pieces(outputs: int) -> Iterator[range]:
    for first in range(0, outputs, _OUTPUTS):
        yield range(first, min(first + _OUTPUTS, outputs))


def _inverse_of_upper(matrix: Array) -> Array:
    """Return the inverse of an upper triangular matrix ``[[A, B], [0, C]]``, which is
    ``[[A^-1, -A^-1 B C^-1], [0, C^-1]]``."""
    import numpy as np

    size = len(matrix)
    if size <= _LEAF:
        return np.triu(np.linalg.inv(matrix))
    half = size // 2
    upper, lower = _inverse_of_upper(matrix[:half, :half]), _inverse_of_upper(matrix[half:, half:])
    inverse = np.zeros_like(matrix)
    inverse[:half, :half], inverse[half:, half:] = upper, lower
    inverse[:half, half:] = -(upper @ matrix[:half, half:] @ lower)
    return inverse
