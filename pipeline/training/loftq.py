"""LoftQ (arXiv 2310.08659): an adapter that begins as what 4-bit quantization loses.

Quantized base and adapter are fitted to a weight in turn: the base to what the adapter leaves of
it, the adapter to what the base leaves. PEFT's own code for this computes on a GPU alone, in
single precision: a merge elsewhere might not find the same base again. This one computes in double
precision wherever the weights are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pipeline.passes.base import StepError

if TYPE_CHECKING:
    import torch

    from pipeline.training.quantization import BaseQuantization

_PREFIX = "base_model.model."
_ADAPTER = "default"


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


def begin(model: Any, original: Any, quantization: BaseQuantization) -> BaseQuantization:
    """Fit the quantized base of ``model`` and its new adapter to the weights of ``original``.

    Returns ``quantization`` with what a merge needs to find the same base again. Layers with an
    adapter that are not quantized, and quantized ones without an adapter, stay as they are.
    """
    import torch
    from bitsandbytes.nn import Params4bit
    from peft.tuners.lora import Linear4bit

    if quantization.loftq is None:
        return quantization
    ranks: dict[str, int] = {}
    for name, module in model.named_modules():
        if not isinstance(module, Linear4bit):
            continue
        layer = name.removeprefix(_PREFIX)
        base = module.get_base_layer()
        device = base.weight.device
        stored = original.get_submodule(layer).weight.data
        weight = quantization.as_quantized(stored.to(device))
        ranks[layer] = rank = module.r[_ADAPTER]
        rest = fitted(weight, rank, quantization.loftq.iterations, quantization.again)
        left, right = low_rank(weight.double() - quantization.again(rest).double(), rank)
        base.weight = Params4bit(
            quantization.as_quantized(rest),
            requires_grad=False,
            compress_statistics=quantization.double_quant,
            quant_type=quantization.quant_type,
            quant_storage=base.weight.quant_storage,
            module=base,
        ).to(device)
        # The adapter is scaled: only so does it begin as what was lost, whatever alpha is.
        share = module.scaling[_ADAPTER] ** 0.5
        with torch.no_grad():
            module.lora_A[_ADAPTER].weight.copy_(right / share)
            module.lora_B[_ADAPTER].weight.copy_(left / share)
    if not ranks:
        raise StepError(
            "none of the layers that get an adapter is quantized",
            "take them out of skip_modules, or use lora",
            "bad_input",
        )
    done = quantization.loftq.model_copy(update={"ranks": ranks})
    return quantization.model_copy(update={"loftq": done})
