"""What a fine-tune trains: an adapter beside a frozen base, or all weights of a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from pipeline.contract.errors import StepError
from pipeline.contract.space import count
from pipeline.process.memory import available_memory
from pipeline.training.adapter import add_adapter, save_adapter, trainable, whole_modules
from pipeline.training.checkpoint_files import copy_other_files, remove_paths
from pipeline.training.fingerprint import save_fingerprint
from pipeline.training.four_bit_base import load_kept, load_quantized
from pipeline.training.full_params import FullFinetuneParams
from pipeline.training.loading import load_model
from pipeline.training.loftq import initialize
from pipeline.training.params import FinetuneParams
from pipeline.training.quantization import BaseQuantization, quantized_from
from pipeline.weights.files import tensors_of

_BYTES_PER_WEIGHT = 16
"""Of a full fine-tune in fp32: weight, gradient, and the two moments of Adam."""


@dataclass(frozen=True)
class Trainee:
    """A model of which some weights are trained, or all."""

    model: Any
    save: Callable[[Path], None]
    """Writes what was trained into a folder."""
    metrics: Mapping[str, JsonValue]


def adapter(
    folder: Path, params: FinetuneParams, precision: str, quantized: Path | None = None
) -> Trainee:
    """Return the base in ``folder`` with a new adapter. ``precision`` is that of the forward pass;
    ``quantized`` has the base as :mod:`pipeline.training.four_bit_base` kept it.

    Raises :class:`StepError` if the adapter does not fit the model.
    """
    model, quantization = _base(folder, params, precision, quantized)
    model = add_adapter(model, params)
    _train_in_fp32(model)
    if quantization is not None and quantization.loftq is not None:
        # In their stored format the weights need not be copied before they are fitted.
        original = load_model(folder, params, device="cpu")
        quantization = initialize(model, original, quantization)
        del original

    def save(out_dir: Path) -> None:
        save_adapter(model, out_dir)
        save_fingerprint(folder, out_dir)
        if quantization is not None:
            quantization.save(out_dir)

    return Trainee(model, save, {"modules_to_save": list(whole_modules(model, params))})


def whole_model(folder: Path, params: FullFinetuneParams) -> Trainee:
    """Return the model in ``folder``, all of whose weights are trained, in fp32. They are saved in
    the number format that they had.

    Raises :class:`StepError` if they do not fit into memory.
    """
    import torch

    _require_memory(folder)
    stored = load_model(folder, params, device="cpu").dtype
    model = load_model(folder, params, torch.float32)

    def save(out_dir: Path) -> None:
        model.to(stored).save_pretrained(out_dir)
        copy_other_files(folder, out_dir)
        remove_paths(out_dir)

    return Trainee(model, save, {"dtype": str(stored).removeprefix("torch.")})


def _require_memory(folder: Path) -> None:
    """Raise :class:`StepError` if the memory that a GPU or this machine has left is too little."""
    import torch

    weights = count(tensor.shape for tensor in tensors_of(folder).values())
    needed = _BYTES_PER_WEIGHT * weights
    room = torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else available_memory()
    if room is not None and needed > room:
        raise StepError(
            f"training {weights:,} weights takes {needed / 1e9:.1f} GB and more, and "
            f"{room / 1e9:.1f} GB are free",
            "train an adapter: lora, or qlora in still less memory",
            "out_of_memory",
        )


def _base(
    folder: Path, params: FinetuneParams, precision: str, quantized: Path | None
) -> tuple[Any, BaseQuantization | None]:
    """Return the frozen base, and its quantization; ``None`` if it is not quantized."""
    import torch

    quantization = params.base_quantization(quantized_from(precision))
    if quantization is None:
        return load_model(folder, params, getattr(torch, quantized_from(precision))), None
    from peft import prepare_model_for_kbit_training

    names = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    compute = names[params.multiplied_in(precision)]
    if quantized is not None and not torch.cuda.is_available():
        model = load_kept(quantized, params, quantization, compute)
    else:  # on a GPU that takes seconds, and no kept base has been tried there
        model = load_quantized(folder, params, quantization, compute)
    quantization = quantization.recorded(model)
    quantization.keep_trainable(model)
    return prepare_model_for_kbit_training(
        model, use_gradient_checkpointing=params.gradient_checkpointing
    ), quantization


def _train_in_fp32(model: Any) -> None:
    """Keep whatever is trained in fp32, also of a base in bf16 (``modules_to_save``).

    In bf16, with 8 bits of mantissa, most steps of an optimizer are smaller than the distance to
    the next number, and change nothing (Micikevicius et al., arXiv 1710.03740, section 3.1).
    """
    import torch

    for weight in trainable(model).values():
        weight.data = weight.data.to(torch.float32)
