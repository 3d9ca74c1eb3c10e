"""Matrix products by kernels chosen by name: OpenBLAS as numpy's wheel brings it.

OpenBLAS takes the kernels that ``OPENBLAS_CORETYPE`` names, whatever the CPU's vendor and caches. A
sum over the inner dimension is split only at places that these kernels fix. Each call here runs in
one thread, and a product is split among threads only where that changes no bit.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pipeline.weights.threads import Threads, parts

_ROW_MAJOR, _PLAIN, _TRANSPOSED = 101, 111, 112
_SMALL = 1 << 21
"""Multiplications that are not worth a second thread."""
_TALL = 192
"""The fewest rows that are split: columns are, of a product with fewer."""
_ROWS = 48
"""Rows are split at multiples of this many. The kernels take 24 or 12 of them at a time, and then
fewer of what is left, so that a row is computed in the same way wherever a product is split: a
thread may have any number."""
_COLUMNS, _PIECES = 128, 16
"""The fewest columns of a piece, and the most pieces. Columns near an edge are computed otherwise,
so the pieces are the same for any number of threads."""
_WIDE = 8
"""How many times as many columns as rows are split: each piece reads all of what is not split."""
_SUFFIX = "64_"
_NUMPY = {torch.float32: np.float32, torch.float64: np.float64}


@dataclass(frozen=True)
class _Operand:
    """A matrix of a batch as BLAS reads it."""

    tensor: torch.Tensor
    order: int
    leading: int
    step: int
    """Bytes from one matrix of the batch to the next."""

    def at(self, row: int, column: int) -> int:
        """Return the address of an element of the first matrix."""
        rows, columns = (1, self.leading) if self.order == _TRANSPOSED else (self.leading, 1)
        return int(self.tensor.data_ptr() + (row * rows + column * columns) * self.tensor.itemsize)


class Blas:
    """OpenBLAS, whose large products ``threads`` share."""

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        self._library = ctypes.CDLL(str(_library()))
        self._library[f"scipy_openblas_set_num_threads{_SUFFIX}"](ctypes.c_int(1))
        long, pointer = ctypes.c_int64, ctypes.c_void_p
        self._gemm: dict[torch.dtype, Callable[..., None]] = {}
        for dtype, letter, number in (
            (torch.float32, "s", ctypes.c_float),
            (torch.float64, "d", ctypes.c_double),
        ):
            gemm = self._library[f"scipy_cblas_{letter}gemm{_SUFFIX}"]
            gemm.argtypes = [ctypes.c_int] * 3 + [long] * 3
            gemm.argtypes += [number, pointer, long, pointer, long, number, pointer, long]
            gemm.restype = None
            self._gemm[dtype] = gemm

    def product(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """Return ``left @ right`` of two batches, ``[b, m, k]`` and ``[b, k, n]``, or of two
        matrices, of one number format. Formats narrower than fp32 are computed in fp32, whole
        numbers in fp64.

        Raises ``RuntimeError``, as PyTorch does, for operands that do not fit each other.
        """
        fits = left.shape[:-2] == right.shape[:-2] and left.shape[-1] == right.shape[-2]
        if not fits or left.dtype != right.dtype or left.is_complex():
            raise RuntimeError(
                f"no product of {left.dtype} {list(left.shape)} and {right.dtype} "
                f"{list(right.shape)}"
            )
        dtype = left.dtype
        if dtype not in self._gemm:
            wide = torch.float32 if dtype.is_floating_point else torch.float64
            return self.product(left.to(wide), right.to(wide)).to(dtype)
        batch = left.shape[0] if left.dim() == 3 else 1
        m, k, n = left.shape[-2], left.shape[-1], right.shape[-1]
        shape = (batch, m, n) if left.dim() == 3 else (m, n)
        if not batch * m * n * k:
            return left.new_zeros(shape)
        result = unfilled(shape, dtype)
        one, other = _operand(left), _operand(right)
        gemm, step = self._gemm[dtype], m * n * result.itemsize
        first = result.data_ptr()

        def compute(piece: tuple[int, range, range]) -> None:
            item, rows, columns = piece
            gemm(
                _ROW_MAJOR,
                one.order,
                other.order,
                len(rows),
                len(columns),
                k,
                1.0,
                one.at(rows.start, 0) + item * one.step,
                one.leading,
                other.at(0, columns.start) + item * other.step,
                other.leading,
                0.0,
                first + item * step + (rows.start * n + columns.start) * result.itemsize,
                n,
            )

        pieces = _pieces(batch, m, n, k, self._threads.count)
        if batch * m * n * k <= _SMALL:
            for piece in pieces:
                compute(piece)
        else:
            self._threads.share(compute, pieces)
        return result


def unfilled(shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    """Return new memory for numbers of fp32 or fp64. Not PyTorch's: where that must be
    deterministic, it fills new memory first."""
    return torch.from_numpy(np.empty(shape, dtype=_NUMPY[dtype]))


def _library() -> Path:
    """Return OpenBLAS of numpy's wheel."""
    (found,) = Path(np.__file__).parent.with_name("numpy.libs").glob("libscipy_openblas64_*")
    return found


def _pieces(batch: int, m: int, n: int, k: int, threads: int) -> Sequence[tuple[int, range, range]]:
    """Return the items of a batch, or a large product's rows or columns in pieces."""
    if batch > 1 or m * n * k <= _SMALL:
        return [(item, range(m), range(n)) for item in range(batch)]
    if m >= _TALL and n <= _WIDE * m:
        share = -(-m // _ROWS // threads) * _ROWS
        return [(0, rows, range(n)) for rows in parts(m, share)]
    share = max(_COLUMNS, -(-n // _PIECES // _COLUMNS) * _COLUMNS)
    return [(0, range(m), columns) for columns in parts(n, share)]


def _operand(tensor: torch.Tensor) -> _Operand:
    """Return ``tensor`` for BLAS, copied only if neither its rows nor its columns are dense."""
    rows, columns = tensor.shape[-2:]
    down, across = tensor.stride()[-2:]
    batched = tensor.dim() == 3
    step = tensor.stride(0) * tensor.itemsize if batched else 0
    if (across == 1 or columns == 1) and (down >= columns or rows == 1):
        return _Operand(tensor, _PLAIN, max(down, columns), step)
    if (down == 1 or rows == 1) and (across >= rows or columns == 1):
        return _Operand(tensor, _TRANSPOSED, max(across, rows), step)
    return _operand(tensor.contiguous())
