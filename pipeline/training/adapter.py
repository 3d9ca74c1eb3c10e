"""The adapter: made on a model, saved so that nothing of this machine is in it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.passes.base import StepError

if TYPE_CHECKING:
    from pipeline.training.params import AdapterShape


_SMALL_EMBEDDING = 4_000_000


def add_adapter(model: Any, shape: AdapterShape) -> Any:
    """Return ``model`` with an adapter of ``shape``. Raises :class:`StepError` where the layers
    named do not exist."""
    from peft import LoraConfig, TaskType, get_peft_model

    check_modules(model, shape)
    config = LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=shape.r,
        lora_alpha=shape.alpha,
        lora_dropout=shape.dropout,
        target_modules=(
            shape.target_modules
            if isinstance(shape.target_modules, str)
            else list(shape.target_modules)
        ),
        exclude_modules=list(shape.exclude_modules) or None,
        modules_to_save=list(whole_modules(model, shape)) or None,
        rank_pattern=dict(shape.rank_pattern),
        alpha_pattern=dict(shape.alpha_pattern),
        layers_to_transform=None if shape.layers is None else list(shape.layers),
        use_rslora=shape.use_rslora,
        use_dora=shape.use_dora,
        init_lora_weights=True if shape.init_lora_weights == "default" else shape.init_lora_weights,
        bias=shape.bias,
        ensure_weight_tying=bool(model.config.tie_word_embeddings),
    )
    try:
        return get_peft_model(model, config)
    except (ValueError, TypeError) as error:
        message = f"the adapter does not fit this model: {error}"
        raise StepError(message, cause="bad_input") from error


def whole_modules(model: Any, shape: AdapterShape) -> tuple[str, ...]:
    """Return the layers trained whole: those ``shape`` names, else a small model's embedding."""
    if shape.modules_to_save is not None:
        return shape.modules_to_save
    embedding = model.get_input_embeddings()
    own = getattr(embedding, "original_module", embedding).weight  # peft wraps what it trains whole
    if own.numel() > _SMALL_EMBEDDING or model.config.tie_word_embeddings:
        return ()
    return ("embed_tokens",)


def check_modules(model: Any, shape: AdapterShape) -> None:
    """Raise :class:`StepError` where ``target_modules`` or ``modules_to_save`` name layers that
    ``model`` does not have, or ``layers`` numbers that it has not."""
    from torch import nn

    names = [name for name, _ in model.named_modules()]
    linear = {
        name.rsplit(".", 1)[-1]
        for name, part in model.named_modules()
        if isinstance(part, nn.Linear)
    }
    there = f"linear layers of this model: {', '.join(sorted(linear))}"
    targets = shape.target_modules
    if isinstance(targets, str):
        if targets != "all-linear" and not any(re.fullmatch(targets, name) for name in names):
            raise StepError(f"target_modules {targets!r} matches no layer", there, "bad_input")
        targets = ()
    for key, wanted in (
        ("target_modules", targets),
        ("modules_to_save", shape.modules_to_save or ()),
    ):
        missing = [
            name for name in wanted if not any(f".{own}".endswith(f".{name}") for own in names)
        ]
        if missing:
            raise StepError(f"{key}: there is no {', '.join(missing)}", there, "bad_input")
    count = model.config.num_hidden_layers
    beyond = [number for number in shape.layers or () if not 0 <= number < count]
    if beyond:
        has = f"this model has 0 to {count - 1}"
        raise StepError(f"layers: there is no layer {beyond[0]}", has, "bad_input")


def trainable(model: Any) -> dict[str, Any]:
    """Return the trainable parameters by name."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def save_adapter(model: Any, out_dir: Path) -> None:
    """Write the adapter as safetensors, with no path of this machine and no date in it."""
    model.save_pretrained(out_dir, safe_serialization=True, save_embedding_layers=False)
    (out_dir / "README.md").unlink(missing_ok=True)  # peft's empty model card
    path = out_dir / "adapter_config.json"
    settings = json.loads(path.read_text("utf-8"))
    settings["base_model_name_or_path"] = ""
    for key in ("target_modules", "modules_to_save", "exclude_modules"):
        if isinstance(settings.get(key), list):  # peft keeps sets: their order differs by run
            settings[key] = sorted(settings[key])
    path.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", "utf-8")
