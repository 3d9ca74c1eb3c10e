"""Adds an adapter to a model, and saves it without any trace of this machine."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.contract.errors import StepError
from pipeline.training.adapter_fit import ADAPTER_SETTINGS
from pipeline.training.shapes import SMALL_EMBEDDING

if TYPE_CHECKING:
    from pipeline.training.shapes import AdapterShape, Modules


_USUAL_TARGETS = {"phi3": ("qkv_proj", "o_proj")}
"""Target modules of model types for which PEFT has no default, as Microsoft Olive chooses them."""


def add_adapter(model: Any, shape: AdapterShape) -> Any:
    """Return ``model`` with an adapter of ``shape``.

    Raises :class:`StepError` if ``shape`` names layers that do not exist.
    """
    from peft import TaskType, get_peft_model

    targets = target_modules(model, shape)
    check_modules(model, shape, targets)
    common = {
        "task_type": TaskType.CAUSAL_LM,
        "r": shape.r,
        "target_modules": _as_peft_has_it(targets),
        "exclude_modules": _as_peft_has_it(shape.exclude_modules),
        "modules_to_save": _as_peft_has_it(whole_modules(model, shape)),
        "rank_pattern": dict(shape.rank_pattern),
        "alpha_pattern": dict(shape.alpha_pattern),
        "layers_to_transform": None if shape.layers is None else list(shape.layers),
        "layers_pattern": _as_peft_has_it(shape.layers_pattern),
    }
    config = shape.peft_config(common, _tied(model))
    try:
        return get_peft_model(model, config)
    except (ValueError, TypeError) as error:
        message = f"the adapter does not fit this model: {error}"
        raise StepError(message, cause="bad_input") from error


def target_modules(model: Any, shape: AdapterShape) -> Modules:
    """Return the layers of ``model`` that get an adapter, with ``"auto"`` resolved."""
    from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING

    if shape.target_modules != "auto":
        return shape.target_modules
    usual = {**_USUAL_TARGETS, **TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING}
    targets = usual.get(model.config.model_type, "all-linear")
    return targets if isinstance(targets, str) else tuple(targets)


def whole_modules(model: Any, shape: AdapterShape) -> tuple[str, ...]:
    """Return the layers trained as a whole: those in ``shape``, or a small model's embedding."""
    if shape.modules_to_save is not None:
        return shape.modules_to_save
    embedding = model.get_input_embeddings()
    weight = getattr(
        embedding, "original_module", embedding
    ).weight  # peft wraps layers that are trained as a whole
    if weight.numel() > SMALL_EMBEDDING or model.config.tie_word_embeddings:
        return ()
    return ("embed_tokens",)


def check_modules(model: Any, shape: AdapterShape, targets: Modules) -> None:
    """Raise :class:`StepError` if ``targets`` or a field of ``shape`` names layers, or numbers of
    layers, that ``model`` does not have."""
    from torch import nn

    names = [name for name, _ in model.named_modules()]
    linear = {
        name.rsplit(".", 1)[-1]
        for name, part in model.named_modules()
        if isinstance(part, nn.Linear)
    }
    available = f"linear layers of this model: {', '.join(sorted(linear))}"
    resolved = shape.model_copy(update={"target_modules": targets})
    for key, problem in resolved.missing_modules(names):
        raise StepError(f"{key}: {problem}", available, "bad_input")
    for key, pattern in (
        ("rank_pattern", shape.rank_pattern),
        ("alpha_pattern", shape.alpha_pattern),
    ):
        for part in pattern:
            # How PEFT reads the keys of its patterns.
            if not any(re.match(rf"(.*\.)?({part})$", name) for name in names):
                raise StepError(f"{key}: there is no {part}", available, "bad_input")
    _require_reloadable(model, targets)
    count = model.config.num_hidden_layers
    beyond = [number for number in shape.layers or () if not 0 <= number < count]
    if beyond:
        has = f"this model has 0 to {count - 1}"
        raise StepError(f"layers: there is no layer {beyond[0]}", has, "bad_input")


def _require_reloadable(model: Any, targets: Modules) -> None:
    """Raise :class:`StepError` for an output embedding that shares the weight of an input embedding
    with another name than PEFT knows: it would train both, and load one."""
    tied = _tied(model) - {"embed_tokens"}
    asked = sorted(tied & set(targets if isinstance(targets, tuple) else ()))
    if len(tied) == 2 and asked and asked != [_name_of(model, model.get_input_embeddings())]:
        raise StepError(
            f"target_modules: {', '.join(asked)} shares its weight with another layer of this "
            "model, and PEFT would load only a part of its adapter",
            "leave it out",
            "bad_input",
        )


def _name_of(model: Any, module: Any) -> str:
    path: str = next(name for name, one in model.named_modules() if one is module)
    return path.rpartition(".")[2]


def _as_peft_has_it(names: Modules) -> list[str] | str | None:
    return names if isinstance(names, str) else list(names) or None


def _tied(model: Any) -> frozenset[str]:
    """Return the names of the layers that share the embedding's weight."""
    if not model.config.tie_word_embeddings:
        return frozenset()
    both = (model.get_input_embeddings(), model.get_output_embeddings())
    return frozenset(
        name.rsplit(".", 1)[-1]
        for name, module in model.named_modules()
        if any(module is one for one in both)
    )


def trainable(model: Any) -> dict[str, Any]:
    """Return the trainable parameters by name."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def save_adapter(model: Any, out_dir: Path) -> None:
    """Write the adapter as safetensors, without any path of this machine and without a date."""
    model.save_pretrained(out_dir, safe_serialization=True, save_embedding_layers=False)
    (out_dir / "README.md").unlink(missing_ok=True)  # peft's empty model card
    path = out_dir / ADAPTER_SETTINGS
    write_settings(json.loads(path.read_text("utf-8")), path)


def write_settings(settings: Mapping[str, Any], path: Path) -> None:
    """Write an adapter's settings, in one order and without the path of its base."""
    written = {**settings, "base_model_name_or_path": ""}
    for key in ("target_modules", "modules_to_save", "exclude_modules"):
        if isinstance(written.get(key), list):  # peft keeps sets: their order differs by run
            written[key] = sorted(written[key])
    path.write_text(json.dumps(written, indent=2, sort_keys=True) + "\n", "utf-8")
