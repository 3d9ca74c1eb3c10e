"""LoftQ (arXiv 2310.08659): an adapter that begins as what 4-bit quantization loses.

Quantized base and adapter are fitted to a weight in turn: the base to what the adapter leaves of
it, the adapter to what the base leaves. PEFT's own code for this computes on a GPU alone, in
single precision: a merge elsewhere might not find the same base again. This one computes in double
precision wherever the weights are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.contract.errors import StepError
from pipeline.training.low_rank import fitted, low_rank

if TYPE_CHECKING:
    from pipeline.training.quantization import BaseQuantization

_PREFIX = "base_model.model."
_ADAPTER = "default"


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
        rest = fitted(weight, rank, quantization.loftq.iterations, quantization.requantized)
        left, right = low_rank(weight.double() - quantization.requantized(rest).double(), rank)
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
