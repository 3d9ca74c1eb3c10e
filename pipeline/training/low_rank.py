"""Matrices of low rank: the best approximation by one, and what LoftQ leaves to the base."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def fitted(
    weight: torch.Tensor,
    rank: int,
    iterations: int,
    round_trip: Callable[[torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """Return the matrix (fp32) whose quantization is the base after ``iterations``: ``weight``
    less what the adapter of the iteration before holds. ``round_trip`` quantizes and back."""
    rest = weight.float()
    for _ in range(iterations - 1):
        left, right = low_rank(weight.double() - round_trip(rest).double(), rank)
        rest = (weight.double() - left @ right).float()
    return rest


def low_rank(matrix: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the factors (fp64) of the best approximation of ``matrix`` by ``rank``, each with the
    square roots of the singular values; zeros where the matrix has no such rank."""
    import torch

    rows, columns = matrix.shape
    if rows > columns:
        left, right = low_rank(matrix.T, rank)
        return right.T, left.T
    # The eigenvectors of the smaller Gram matrix are singular vectors, at a fraction of the cost of
    # a singular value decomposition.
    squares, vectors = torch.linalg.eigh(matrix @ matrix.T)
    size = min(rank, rows)
    roots = squares[-size:].clamp_min(0).pow(0.25)
    vectors = vectors[:, -size:]
    there = roots > roots[-1] * 1e-6
    scale = torch.where(there, 1 / roots.clamp_min(torch.finfo(roots.dtype).tiny), 0)
    left, right = matrix.new_zeros(rows, rank), matrix.new_zeros(rank, columns)
    left[:, :size] = vectors * roots * there
    right[:size] = scale[:, None] * (vectors.T @ matrix)
    return left, right
