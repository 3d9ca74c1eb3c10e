"""Loads models from folders, never from a hub."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipeline.contract.errors import StepError
from pipeline.contract.frozen import Frozen
from pipeline.weights.files import weight_files

if TYPE_CHECKING:
    import torch
    from transformers import BitsAndBytesConfig, PretrainedConfig

_NAMED = 5
"""Missing weights that a message names."""


class ModelLoading(Frozen):
    """Which parts of other people's models may be loaded."""

    trust_remote_code: bool = False
    """Run Python code that comes with the model."""
    weights: Literal["safetensors", "any"] = "safetensors"
    """``any`` also loads pickled weights, which can hold code."""


def load_model(
    folder: Path,
    loading: ModelLoading,
    dtype: torch.dtype | str = "auto",
    quantization: BitsAndBytesConfig | None = None,
    device: str | None = None,
    config: PretrainedConfig | None = None,
) -> Any:
    """Return the causal language model of a checkpoint folder, on ``device``: by default the GPU,
    if there is one. ``config`` takes the place of the folder's.

    Weights are loaded, converted to ``dtype`` and moved to ``device`` one by one, so that memory
    holds only a few of them beside the model itself. Weights that need neither are not copied: the
    model maps them from the file.

    Raises :class:`StepError` where the folder has no safetensors weights (unless ``loading`` allows
    others), lacks weights, needs code of its own, or is no causal language model.
    """
    import torch
    from transformers import AutoModelForCausalLM

    if loading.weights == "safetensors" and not weight_files(folder):
        raise StepError(
            "the model has no safetensors weights",
            'convert them, or set weights = "any" to load pickled ones, which can hold code',
            cause="bad_input",
        )
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    options: dict[str, Any] = {}
    if quantization is not None:
        options["quantization_config"] = quantization
    if config is not None:
        options["config"] = config
    if quantization is not None or device != "cpu":
        # With a device map, transformers moves each weight by itself, and quantizes it there.
        options["device_map"] = {"": device}
    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            local_files_only=True,
            output_loading_info=True,
            trust_remote_code=loading.trust_remote_code,
            use_safetensors=True if loading.weights == "safetensors" else None,
            **options,
        )
    except (OSError, ValueError, KeyError) as error:
        hint = ""
        if "trust_remote_code" in str(error):
            hint = "set trust_remote_code = true if you have read that code"
        raise StepError(f"the model cannot be loaded: {error}", hint, "bad_input") from error
    require_all_weights(info["missing_keys"])
    return model


def require_all_weights(missing: Collection[str]) -> None:
    """Raise :class:`StepError` where a checkpoint lacks weights of its model.

    transformers gives those random numbers, and says so in a warning only.
    """
    if missing:
        named = ", ".join(sorted(missing)[:_NAMED])
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise StepError(
            f"the model's files lack weights that its config asks for: {named}{more}",
            "copy the whole checkpoint, and use the config that belongs to it",
            "bad_input",
        )


def require_finite_weights(folder: Path) -> None:
    """Raise :class:`StepError` where weights in the files of ``folder`` are NaN or infinite.

    One after the other is read, so that this takes the time of reading them and no room.
    """
    import torch

    from pipeline.weights.stored import stored_tensors

    for name, weight in stored_tensors(folder).items():
        if not bool(torch.isfinite(weight.computed()).all()):
            raise StepError(
                f"the model's weights hold NaN or infinity: {name}",
                "download it again, or name one that was saved before training diverged",
                "bad_input",
            )
