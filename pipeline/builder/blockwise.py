"""Quantizes a matrix in blocks by ``rtn`` or ``k_quant``, a piece of the CPU's cache at a time.

ONNX Runtime has both in Python (``onnxruntime/quantization/neural_compressor/weight_only.py``),
over whole matrices: twenty passes through memory per weight for ``k_quant``, and zero points that
it packs wrongly for an odd number of blocks. Here every number goes through the same operations in
the same order, so the bytes are the same wherever the library packs them right.

A weight ``w`` is stored as ``q = round(w / scale + zero)``. ``rtn`` takes scale and zero point from
the smallest and the largest weight of a block. ``k_quant`` is that of llama.cpp
(``ggml-quants.c``): of 20 scales around that one, each improved by least squares with the weights
``|w| + rms(w)``, the one with the smallest error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

Array = Any
"""A NumPy array: importing this module needs no NumPy."""
Sum = Callable[[Array], Array]

_COLUMNS = 1024
_CACHED = 1 << 17
"""Largest number of weights that are quantized at once, so that they stay in the CPU's cache."""
_LANES = 8
"""Sums that NumPy's summation of consecutive numbers has under way at a time."""
_PAIRWISE = 128
"""Above this number of terms it sums two halves by themselves."""
_STEPS = 20
_STEP = 0.1


@dataclass(frozen=True)
class Blockwise:
    """How a matrix [inputs, outputs] is quantized."""

    bits: int
    block_size: int
    least_squares: bool
    """Whether by ``k_quant``, which always has zero points; else by ``rtn``."""
    zero_points: bool

    def quantize(self, weight: Any) -> tuple[Array, ...]:
        """Return the packed weights [outputs, blocks, bytes], the scales [outputs, blocks] and, if
        there are any, the packed zero points [outputs, bytes], of a PyTorch tensor."""
        import numpy as np

        inputs, outputs = weight.shape
        blocks = -(-inputs // self.block_size)
        number = weight[:0].numpy().dtype
        packed = np.empty((outputs, blocks, self.block_size * self.bits // 8), np.uint8)
        scales = np.empty((outputs, blocks), number)
        zeros = np.empty((outputs, blocks), np.uint8)
        for (rows, columns), (values, scale, zero) in self._in_pieces(weight):
            packed[columns, rows] = packed_values(values, self.bits).transpose(2, 0, 1)
            scales[columns, rows] = scale[:, 0].T.astype(number)
            zeros[columns, rows] = zero[:, 0].T
        return (
            (packed, scales, packed_zeros(zeros, self.bits))
            if self.zero_points
            else (packed, scales)
        )

    def rounded(self, weight: Any) -> Array:
        """Return the numbers, [inputs, outputs] in float32, that a PyTorch tensor stands for once
        it is quantized."""
        import numpy as np

        inputs, outputs = weight.shape
        found = np.empty((-(-inputs // self.block_size), self.block_size, outputs), np.float32)
        for (rows, columns), (values, scale, zero) in self._in_pieces(weight):
            found[rows, :, columns] = (values.astype(np.float32) - zero) * scale
        return found.reshape(-1, outputs)[:inputs]

    def _in_pieces(self, weight: Any) -> Iterator[tuple[tuple[slice, slice], tuple[Array, ...]]]:
        """Yield (blocks, columns) of pieces of a PyTorch tensor [inputs, outputs], with integers,
        scales and zero points of each."""
        import numpy as np

        inputs, outputs = weight.shape
        blocks = -(-inputs // self.block_size)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            for rows, columns in _pieces(blocks, outputs, self.block_size):
                span = slice(rows.start * self.block_size, rows.stop * self.block_size)
                piece = _padded(weight[span, columns].contiguous().numpy(), self.block_size)
                quantized = self._quantized(piece, alone=blocks == 1 and outputs > 1)
                yield (rows, columns), quantized

    def _quantized(self, piece: Array, alone: bool) -> tuple[Array, Array, Array]:
        """Return integers, scales and zero points of ``piece`` [blocks, block_size, columns].

        ``alone`` says that the matrix has one block per column, which the library sums in another
        order.
        """
        import numpy as np

        largest = (1 << self.bits) - 1
        if self.least_squares:
            piece = piece.astype(np.float32)
            scale, zero = _least_squares(piece, largest, _in_turn if alone else _in_lanes)
        elif self.zero_points:
            scale, zero = _range(piece, largest)
        else:
            scale, zero = _magnitude(piece, largest)
        values = piece / scale
        values += zero
        np.round(values, out=values)
        np.clip(values, 0, largest, out=values)
        return values.astype(np.uint8), scale, zero


def packed_values(values: Array, bits: int) -> Array:
    """Return ``values`` [a, n, b] with those of a byte joined, the first in its low bits."""
    return values if bits == 8 else values[:, 0::2] | values[:, 1::2] << 4


def packed_zeros(zeros: Array, bits: int) -> Array:
    """Return the zero points ``zeros`` [outputs, blocks] as they are stored."""
    import numpy as np

    if bits == 8:
        return zeros
    # Rows with an odd number of blocks end with half a byte: zero itself.
    even = np.pad(zeros, ((0, 0), (0, zeros.shape[1] % 2)), constant_values=8)
    return even[:, 0::2] | even[:, 1::2] << 4


def _pieces(blocks: int, outputs: int, block_size: int) -> Iterator[tuple[slice, slice]]:
    """Yield (blocks, columns) of pieces that cover the whole matrix."""
    columns = min(outputs, _COLUMNS)
    rows = max(_CACHED // (columns * block_size), 1)
    for column in range(0, outputs, columns):
        for row in range(0, blocks, rows):
            yield (
                slice(row, min(row + rows, blocks)),
                slice(column, min(column + columns, outputs)),
            )


def _padded(piece: Array, block_size: int) -> Array:
    """Return ``piece`` [inputs, columns] as [blocks, block_size, columns], filled up with zeros."""
    import numpy as np

    inputs, columns = piece.shape
    missing = -inputs % block_size
    if missing:
        piece = np.pad(piece, ((0, missing), (0, 0)))
    return piece.reshape(-1, block_size, columns)


def _range(piece: Array, largest: int) -> tuple[Array, Array]:
    """Return scales and zero points with which a block's range is that of the integers."""
    import numpy as np

    low, high = piece.min(axis=1, keepdims=True), piece.max(axis=1, keepdims=True)
    scale = np.ones(low.shape)
    varies = low != high
    scale[varies] = (high - low)[varies].astype(np.float64) / largest
    return scale, np.clip(((0.0 - low) / scale).round(), 0, largest).astype(np.uint8)


def _magnitude(piece: Array, largest: int) -> tuple[Array, Array]:
    """Return scales with which a block's largest magnitude is the largest integer, and the middle
    of the integers as zero."""
    import numpy as np

    low, high = piece.min(axis=1, keepdims=True), piece.max(axis=1, keepdims=True)
    most = np.maximum(np.abs(low), np.abs(high))
    scale = np.ones(most.shape)
    there = most > 0
    scale[there] = (most[there] * 2.0).astype(np.float64) / largest
    return scale, np.full(most.shape, (largest + 1) // 2, np.uint8)


def _least_squares(x: Array, largest: int, total: Sum) -> tuple[Array, Array]:
    """Return scales and zero points with the smallest weighted squared error that was found."""
    import numpy as np

    weights = np.abs(x)
    weights += np.sqrt(total(x * x) / x.shape[1])
    low, high = x.min(axis=1, keepdims=True), x.max(axis=1, keepdims=True)
    values, terms = weights * x, np.empty((3, *x.shape), x.dtype)
    work = terms[0]
    sum_w, sum_x = total(weights), total(values)

    def round_to(top: float) -> Array:
        """Fill ``values`` with the integers that range from 0 to ``top`` and return their scale."""
        inverse = np.ones_like(high)
        np.divide(np.float32(top), high - low, out=inverse, where=low != high)
        np.subtract(x, low, out=values)
        np.multiply(values, inverse, out=values)
        np.rint(values, out=values)
        np.clip(values, 0, largest, out=values)
        return 1 / inverse

    def error(scale: Array, low: Array) -> Array:
        np.multiply(values, scale, out=work)
        np.add(work, low, out=work)
        np.subtract(work, x, out=work)
        np.multiply(work, work, out=work)
        np.multiply(work, weights, out=work)
        return total(work)

    scale = round_to(largest)
    best = error(scale, low)
    for step in range(_STEPS):
        round_to(-1 + _STEP * step + largest)
        np.multiply(weights, values, out=terms[0])
        np.multiply(terms[0], values, out=terms[1])
        np.multiply(terms[0], x, out=terms[2])
        sum_q, sum_qq, sum_xq = total(terms)
        divisor = sum_w * sum_qq - sum_q**2
        a_scale = (sum_w * sum_xq - sum_x * sum_q) / divisor
        a_low = (sum_qq * sum_x - sum_q * sum_xq) / divisor
        found = error(a_scale, a_low)
        better = found < best
        for kept, new in ((best, found), (scale, a_scale), (low, a_low)):
            np.copyto(kept, new, where=better)
    zero = np.clip((-low / scale).round(), 0, largest).astype(np.uint8)
    return scale.astype(np.float64), zero


def _in_lanes(terms: Array) -> Array:
    """Return sums over the last axis but one, in NumPy's order for consecutive numbers."""
    count = terms.shape[-2]
    if count > _PAIRWISE:
        return _in_lanes(terms[..., : count // 2, :]) + _in_lanes(terms[..., count // 2 :, :])
    lanes = terms[..., :_LANES, :].copy()
    for at in range(_LANES, count, _LANES):
        lanes += terms[..., at : at + _LANES, :]
    while lanes.shape[-2] > 1:
        lanes = lanes[..., 0::2, :] + lanes[..., 1::2, :]
    return lanes


def _in_turn(terms: Array) -> Array:
    """Return sums over the last axis but one, one term after the other."""
    sums = terms[..., :1, :].copy()
    for at in range(1, terms.shape[-2]):
        sums += terms[..., at : at + 1, :]
    return sums
