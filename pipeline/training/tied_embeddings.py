"""Merges adapters of input and output embeddings that share one tensor.

PEFT merges into each of the two layers, so that a change of both is added to the shared tensor
twice, and a change of one reaches the other, which the adapter had left alone. While PEFT merges,
each layer has a tensor of its own here. Afterwards they share one again if they are the same.
"""

from __future__ import annotations

from typing import Any


def part(adapted: Any) -> bool:
    """Give the output embedding of the ``PeftModel`` ``adapted`` a tensor of its own, if it shares
    one that adapters of the kinds that PEFT merges change; return whether it was so."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from torch import nn

    model = adapted.get_base_model()
    both = model.get_input_embeddings(), model.get_output_embeddings()
    if not any(isinstance(layer, BaseTunerLayer) for layer in both):
        return False
    first, last = (
        layer.get_base_layer() if isinstance(layer, BaseTunerLayer) else layer for layer in both
    )
    if last.weight is not first.weight:
        return False
    last.weight = nn.Parameter(last.weight.detach().clone(), requires_grad=False)
    model.config.get_text_config().tie_word_embeddings = False
    model.config.tie_word_embeddings = False
    return True


def join(merged: Any) -> None:
    """Let both embeddings of ``merged`` share one tensor if they differ by rounding at most."""
    import torch

    first, last = merged.get_input_embeddings(), merged.get_output_embeddings()
    if torch.allclose(
        first.weight, last.weight, rtol=0, atol=1e-6 * float(last.weight.abs().max())
    ):
        last.weight = first.weight
        merged.config.get_text_config().tie_word_embeddings = True
        merged.config.tie_word_embeddings = True
