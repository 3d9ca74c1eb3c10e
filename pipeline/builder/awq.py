"""AWQ: scales a matrix's inputs so that rounding its weights changes its products less.

Lin et al., "AWQ: Activation-aware Weight Quantization for LLM Compression and Acceleration" (arXiv
2306.00978). A weight ``w`` that is rounded as ``s w``, and whose input is divided by ``s``, has an
error smaller by ``s``, as long as the scale of its block stays what it is. So inputs with large
numbers get a larger ``s``. Tried are the paper's ``s = x^a`` with the typical size ``x`` of an
input, and ``s = x^a / w^(1 - a)`` with that of its weights, as the authors' code has it.

The paper has one ``a`` for a matrix. Here each block of weights has its own, and then one factor of
it after the other is changed a little where that helps. What helps is what makes the products
``(V - W) X^T`` of all rounding errors smaller, those of the other blocks being what they are. With
``E = V - W`` and ``H = X^T X``, the columns ``b`` of ``E`` add to their sum of squares

    ``<E_b H_bb + 2 G, E_b>`` with ``G = (E H)_b - E_b H_bb``

so that it never grows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.builder.grid import Grid

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
    """A matrix whose inputs are scaled."""

    weight: Array
    """[outputs, inputs], float32."""
    gram: Array
    """[inputs, inputs]: the products of its inputs with each other, ``X^T X``."""


@dataclass(frozen=True)
class Scales:
    """What was found for matrices that read the same."""

    exponents: Array
    """[factors], int8: the columns are to be multiplied by the :func:`factors` of these."""
    error: float
    """By how much rounding changes the products then, relative to their size."""
    plain_error: float
    """The same without factors."""


@dataclass(frozen=True)
class Awq:
    """How matrices will be rounded."""

    bits: int
    block_size: int
    symmetric: bool

    def scales(self, readers: Sequence[Reader], columns: Array) -> Scales:
        """Return the best factors that are found for ``readers``, which read the same.

        ``columns`` [factors, inputs that share one] says of which inputs a factor is. A block of
        consecutive factors is of blocks of consecutive inputs.

        Raises ``ValueError`` where a weight or an input is not finite.
        """
        import numpy as np

        if not all(np.isfinite(part).all() for one in readers for part in (one.weight, one.gram)):
            raise ValueError("its weights or inputs are NaN or infinite")
        grid = Grid(self.bits, self.symmetric)
        matrices = [_Matrix.of(one, grid, self.block_size) for one in readers]
        plain = sum(one.error for one in matrices)
        exponents = np.zeros(len(columns), np.int8)
        for first in range(0, len(columns), self.block_size):
            at = slice(first, first + self.block_size)
            blocks = [_Block(one, columns[at].T.reshape(-1)) for one in matrices]
            exponents[at] = _searched(blocks, self.block_size)
        error = sum(one.error for one in matrices)
        count = len(readers)
        return Scales(exponents, float((error / count) ** 0.5), float((plain / count) ** 0.5))


@dataclass
class _Matrix:
    """A matrix, and the errors of its weights as they are rounded now."""

    grid: Grid
    block_size: int
    weight: Array
    gram: Array
    """Divided by the sum of squares of the products: each matrix counts by what it changes of its
    own, however large these are."""
    errors: Array

    @classmethod
    def of(cls, reader: Reader, grid: Grid, block_size: int) -> _Matrix:
        """Return the matrix, rounded without factors."""
        import numpy as np

        gram = reader.gram.astype(np.float32)
        products = float(np.vdot(reader.weight @ gram, reader.weight))
        gram = gram / np.float32(products) if products > 0 else gram * 0
        matrix = cls(grid, block_size, reader.weight, gram, reader.weight)
        matrix.errors = matrix.rounded(reader.weight) - reader.weight
        return matrix

    def rounded(self, weight: Array) -> Array:
        """Return columns of whole blocks after rounding."""
        blocks = weight.reshape(len(weight), -1, self.block_size)
        return self.grid.rounded(blocks, *self.grid.range_of(blocks)).reshape(weight.shape)

    @property
    def error(self) -> float:
        """Return the sum of squares by which the products change."""
        import numpy as np

        return max(float(np.vdot(self.errors @ self.gram, self.errors)), 0.0)


class _Block:
    """The columns of a matrix with one block of factors."""

    def __init__(self, matrix: _Matrix, columns: Array) -> None:
        """``columns`` are those of the first inputs of the factors, then those of the second."""
        self._matrix, self._columns = matrix, columns
        self.weight = matrix.weight[:, columns]
        errors = matrix.errors[:, columns]
        self._own = matrix.gram[columns[:, None], columns]
        self._others = 2 * (matrix.errors @ matrix.gram[:, columns] - errors @ self._own)
        self.squares = self._own.diagonal()

    def errors(self, factor: Array) -> Array:
        """Return the errors of the weights with factors, one for each column."""
        return self._matrix.rounded(self.weight * factor) / factor - self.weight

    def cost(self, errors: Array) -> float:
        """Return what ``errors`` add to the sum of squares by which the products change."""
        import numpy as np

        return float(np.vdot(errors @ self._own + self._others, errors))

    def take(self, errors: Array) -> None:
        """Have the matrix rounded with these errors."""
        self._matrix.errors[:, self._columns] = errors


def _searched(blocks: Sequence[_Block], size: int) -> Array:
    """Return the best exponents for a block of factors, and have the matrices rounded so."""
    import numpy as np

    def tried(exponents: Array) -> tuple[float, Array, list[Array]]:
        factor = np.tile(factors(exponents), len(blocks[0].squares) // size)
        errors = [block.errors(factor) for block in blocks]
        cost = sum(block.cost(error) for block, error in zip(blocks, errors, strict=True))
        return cost, exponents, errors

    best = tried(np.zeros(size, np.int8))
    for exponents in _by_sizes(blocks, size):
        best = min(best, tried(exponents), key=_cost)
    for at in range(size):
        before = best[1]
        for step in (1, -1):
            exponents = before.copy()
            exponents[at] += step
            if abs(exponents[at]) <= _LARGEST:
                best = min(best, tried(exponents), key=_cost)
    _, found, errors = best
    for block, error in zip(blocks, errors, strict=True):
        block.take(error)
    return found


def _cost(tried: tuple[float, Array, list[Array]]) -> float:
    return tried[0]


def _by_sizes(blocks: Sequence[_Block], size: int) -> Iterator[Array]:
    """Yield the exponents of the paper's search."""
    import numpy as np

    squares = sum(block.squares.reshape(-1, size).sum(axis=0) for block in blocks)
    sizes = sum(np.abs(block.weight).mean(axis=0).reshape(-1, size).sum(axis=0) for block in blocks)
    inputs, weights = _logarithm(np.sqrt(squares)), _logarithm(sizes)
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
