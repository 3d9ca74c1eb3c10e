"""A base in 4 bits: quantized as it is loaded, or kept by a step before the trainings over it.

What is kept is a checkpoint as transformers writes it of a model that bitsandbytes quantized:
packed weights, scales and codes are those that a training would make itself.
"""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from pipeline.contract.errors import StepError
from pipeline.contract.step import Inputs
from pipeline.process.heap import kept_heap
from pipeline.training.checkpoint_files import copy_other_files, remove_paths
from pipeline.training.determinism import prepare
from pipeline.training.kept_base_params import KeptBaseParams
from pipeline.training.loading import ModelLoading, load_model, require_finite_weights
from pipeline.training.named_kernels import named_kernels
from pipeline.training.quantization import BaseQuantization

if TYPE_CHECKING:
    import torch

_FILE = "1GB"
"""Most bytes of a file with weights, as transformers reads it."""


def load_quantized(
    folder: Path,
    loading: ModelLoading,
    quantization: BaseQuantization,
    compute: torch.dtype,
    device: str | None = None,
) -> Any:
    """Return the base in ``folder``, quantized, whose products are computed in ``compute``.

    Raises :class:`StepError` for a base that bitsandbytes would misread.
    """
    import torch

    dtype = getattr(torch, quantization.weights_dtype)
    model = load_model(folder, loading, dtype, quantization.config(compute), device)
    quantization.require_readable(model)
    return model


def keep(inputs: Inputs, params: KeptBaseParams, out_dir: Path) -> dict[str, JsonValue]:
    """Quantize the base ``inputs["model"]`` as a training on a CPU does, and write it to
    ``out_dir``; return how many layers are quantized."""
    prepare(inputs.seed, inputs.threads)
    require_finite_weights(inputs["model"])
    # As in a training: the mean of all scales depends on PyTorch's threads.
    with named_kernels(inputs.threads), kept_heap():
        layers = _write_quantized(inputs["model"], params, out_dir)
        gc.collect()  # layers and weights refer to each other, and the next step needs the memory
    copy_other_files(inputs["model"], out_dir)
    remove_paths(out_dir)
    return {"quantized_layers": layers}


def _write_quantized(folder: Path, params: KeptBaseParams, out_dir: Path) -> int:
    import torch

    model = load_quantized(folder, params, params.quantization, torch.float32, "cpu")
    model.save_pretrained(out_dir, max_shard_size=_FILE)
    return len(params.quantization.recorded(model).layers or ())


def load_kept(
    folder: Path, loading: ModelLoading, quantization: BaseQuantization, compute: torch.dtype
) -> Any:
    """Return the base that :func:`keep` wrote to ``folder``, on the CPU. Its weights are mapped
    from the files.

    Raises :class:`StepError` if what is there is not in the format ``quantization``.
    """
    import torch
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=loading.trust_remote_code
        )
    except (OSError, ValueError, KeyError) as error:
        raise StepError(f"the base in 4 bits cannot be loaded: {error}") from error
    config.quantization_config = quantization.config(compute).to_dict()
    dtype = getattr(torch, quantization.weights_dtype)
    model = load_model(folder, loading, dtype, device="cpu", config=config)
    quantization.require_readable(model)
    _require_format(model, quantization)
    return model


def _require_format(model: Any, quantization: BaseQuantization) -> None:
    """Raise :class:`StepError` for layers that are not quantized as ``quantization`` says."""
    import torch
    from bitsandbytes.nn import Linear4bit

    right = (
        quantization.quant_type,
        quantization.double_quant,
        getattr(torch, quantization.weights_dtype),
    )
    for name, module in model.named_modules():
        if not isinstance(module, Linear4bit):
            continue
        state = module.weight.quant_state
        found = None if state is None else (state.quant_type, state.nested, state.dtype)
        shape = None if state is None else tuple(state.shape)
        if found != right or shape != (module.out_features, module.in_features):
            raise StepError(f"the base in 4 bits is not what its step made: {name} is {found}")
