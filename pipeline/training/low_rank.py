"""Approximation of a matrix by one of low rank, and by a quantized one plus one of low rank."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def quantization_target(
    weight: torch.Tensor,
    rank: int,
    iterations: int,
    round_trip: Callable[[torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """Return the matrix that LoftQ quantizes in its last iteration: fp32, the shape of ``weight``.

    For the weight ``W`` [out, in], ``Q(.)`` = ``round_trip`` (quantize and dequantize) and
    ``T`` = ``iterations`` >= 1 ::

        R_1     = W
        L_t     = the best approximation of W - Q(R_t) of rank ``rank``
        R_(t+1) = W - L_t

    the result is ``R_T``, so that ``Q(R_T)`` is the base after ``T`` iterations (LoftQ, arXiv
    2310.08659, algorithm 1). Differences and approximations are computed in fp64.
    """
    residual = weight.float()
    for _ in range(iterations - 1):
        left, right = low_rank(weight.double() - round_trip(residual).double(), rank)
        residual = (weight.double() - left @ right).float()
    return residual


def low_rank(matrix: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ``left`` [rows, rank] and ``right`` [rank, columns], whose product is the best
    approximation of ``matrix`` [rows, columns] of that rank in the Frobenius norm.

    With the singular value decomposition ``matrix = U S V^T`` and its largest ``rank`` singular
    values, ``left = U sqrt(S)`` and ``right = sqrt(S) V^T`` (Eckart and Young), in the number
    format of ``matrix``. Singular values below about 1e-12 of the largest count as zero, and so do
    those beyond the smaller side of the matrix.
    """
    import torch

    rows, columns = matrix.shape
    if rows > columns:
        left, right = low_rank(matrix.T, rank)
        return right.T, left.T
    # The eigenvectors of the smaller Gram matrix are singular vectors, at a fraction of the cost of
    # a singular value decomposition.
    squares, vectors = _eigen(matrix @ matrix.T)
    size = min(rank, rows)
    roots = squares[-size:].clamp_min(0).pow(0.25)
    vectors = vectors[:, -size:]
    nonzero = roots > roots[-1] * 1e-6
    scale = torch.where(nonzero, 1 / roots.clamp_min(torch.finfo(roots.dtype).tiny), 0)
    left, right = matrix.new_zeros(rows, rank), matrix.new_zeros(rank, columns)
    left[:, :size] = vectors * roots * nonzero
    right[:size] = scale[:, None] * (vectors.T @ matrix)
    return left, right


def _eigen(symmetric: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the eigenvalues, ascending, and eigenvectors of a matrix.

    On a CPU by numpy's LAPACK, whose kernels ``OPENBLAS_CORETYPE`` names: PyTorch's is MKL, which
    chooses by the CPU's vendor.
    """
    import numpy as np
    import torch

    if symmetric.device.type != "cpu":
        values, vectors = torch.linalg.eigh(symmetric)
        return values, vectors
    found = np.linalg.eigh(symmetric.numpy())
    return torch.from_numpy(found.eigenvalues), torch.from_numpy(found.eigenvectors)
