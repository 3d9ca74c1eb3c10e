"""Loads models from folders, never from a hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipeline.contract.errors import StepError
from pipeline.contract.frozen import Frozen

if TYPE_CHECKING:
    import torch
    from transformers import BitsAndBytesConfig


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
) -> Any:
    """Return the causal language model of a checkpoint folder, on ``device``: by default the GPU,
    if there is one.

    Weights are loaded, converted to ``dtype`` and moved to ``device`` one by one, so that memory
    holds only a few of them beside the model itself. Weights that need neither are not copied: the
    model maps them from the file.

    Raises :class:`StepError` if the folder has no safetensors weights (unless ``loading`` allows
    others), needs code of its own, or is no causal language model.
    """
    import torch
    from transformers import AutoModelForCausalLM

    if loading.weights == "safetensors" and not any(folder.glob("*.safetensors")):
        raise StepError(
            "the model has no safetensors weights",
            'convert them, or set weights = "any" to load pickled ones, which can hold code',
            cause="bad_input",
        )
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    options: dict[str, Any] = {}
    if quantization is not None:
        options["quantization_config"] = quantization
    if quantization is not None or device != "cpu":
        # Given a place, transformers brings each weight there by itself, and quantizes it there.
        options["device_map"] = {"": device}
    try:
        return AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=loading.trust_remote_code,
            use_safetensors=True if loading.weights == "safetensors" else None,
            **options,
        )
    except (OSError, ValueError, KeyError) as error:
        hint = ""
        if "trust_remote_code" in str(error):
            hint = "set trust_remote_code = true if you have read that code"
        raise StepError(f"the model cannot be loaded: {error}", hint, "bad_input") from error
