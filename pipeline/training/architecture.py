"""What a checkpoint's model does between its matrices, by transformers' own code for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.onnx.attributes import Architecture, Attention
from pipeline.training.logits import model_of_config

_EPSILONS = ("variance_epsilon", "eps")
"""Names of the attribute in the norms of transformers and of PyTorch."""
_SLIDING = "sliding_attention"


def architecture_of(folder: Path) -> Architecture:
    """Return the architecture of the checkpoint in ``folder``, from its config alone.

    Raises what :func:`pipeline.training.logits.model_of_config` does.
    """
    model = model_of_config(folder)
    config = model.config
    return Architecture(
        {
            int(part.layer_idx): Attention(
                scale=float(part.scaling),
                softcap=float(getattr(config, "attn_logit_softcapping", None) or 0.0),
                window=_window(config, int(part.layer_idx)),
            )
            for part in model.modules()
            if hasattr(part, "scaling") and hasattr(part, "layer_idx")
        },
        frozenset(_epsilons(model)),
        _subtract_mean(model),
    )


def _window(config: Any, layer: int) -> int:
    """Return the sliding window of a layer: all have it, unless ``layer_types`` says which do."""
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None)
    if not window or not getattr(config, "use_sliding_window", True):
        return -1
    return int(window) if kinds is None or kinds[layer] == _SLIDING else -1


def _norms(model: Any) -> Iterator[Any]:
    return (part for part in model.modules() if "norm" in type(part).__name__.casefold())


def _epsilons(model: Any) -> Iterator[float]:
    for part in _norms(model):
        yield from (float(getattr(part, name)) for name in _EPSILONS if hasattr(part, name))


def _subtract_mean(model: Any) -> bool | None:
    """Return whether the norms of ``model`` subtract the mean: then what is added to all numbers
    changes nothing. ``None`` if some do and some do not, or if one is no function of numbers."""
    import copy

    import torch

    found = set()
    for part in _norms(model):
        norm = copy.deepcopy(part).to_empty(device="cpu").float()
        for weight in norm.parameters():
            torch.nn.init.ones_(weight)
        size = next((len(weight) for weight in norm.parameters()), model.config.hidden_size)
        numbers = torch.linspace(-1.0, 1.0, size, dtype=torch.float32)
        try:
            with torch.inference_mode():
                found.add(torch.allclose(norm(numbers + 1), norm(numbers), atol=1e-3))
        except (TypeError, ValueError, RuntimeError):
            return None
    return found.pop() if len(found) == 1 else None
