"""LoftQ initialization (arXiv 2310.08659): the adapter starts as the error of 4-bit quantization.

A quantized base ``Q`` and an adapter ``B A`` are fitted to the weight ``W`` alternately: ``Q`` to
``W - B A``, then ``B A`` to ``W - Q``. PEFT's own implementation needs a GPU and computes in single
precision, so that a merge on another machine might not get the same base. This one computes in
double precision, on the device of the weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.contract.errors import StepError
from pipeline.training.low_rank import low_rank, quantization_target

if TYPE_CHECKING:
    from pipeline.training.quantization import BaseQuantization

_PREFIX = "base_model.model."
_ADAPTER = "default"


def initialize(model: Any, original: Any, quantization: BaseQuantization) -> BaseQuantization:
    """Initialize the quantized base of ``model`` and its adapter from the weights of ``original``.

    Let ``W`` be the weight of a quantized layer with an adapter of rank ``r``, and ``R`` what
    :func:`~pipeline.training.low_rank.quantization_target` returns for it. Then the base becomes
    ``Q(R)`` and ``scaling * B A`` the best approximation of ``W - Q(R)`` of rank ``r``. Other
    layers stay as they are.

    Returns ``quantization`` with the rank of every such layer, from which a merge computes the same
    base. Raises :class:`StepError` if there is no such layer.
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
        residual = quantization_target(
            weight, rank, quantization.loftq.iterations, quantization.requantized
        )
        left, right = low_rank(weight.double() - quantization.requantized(residual).double(), rank)
        base.weight = Params4bit(
            quantization.as_quantized(residual),
            requires_grad=False,
            compress_statistics=quantization.double_quant,
            quant_type=quantization.quant_type,
            quant_storage=base.weight.quant_storage,
            module=base,
        ).to(device)
        # PEFT scales the update, so the adapter is divided by that: alpha does not matter.
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
    fitted_loftq = quantization.loftq.model_copy(update={"ranks": ranks})
    return quantization.model_copy(update={"loftq": fitted_loftq})
