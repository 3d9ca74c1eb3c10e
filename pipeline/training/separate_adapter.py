"""Keeps a low-rank adapter beside an ONNX model instead of merging it.

The graph gets optional inputs for the adapter's matrices, and the adapter a file that the runtime
loads. The model's own weights stay as they are, so that several adapters can share them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pipeline.builder.session_options import write_config
from pipeline.contract.adapter_name import SUFFIX
from pipeline.contract.errors import StepError
from pipeline.contract.space import Shape
from pipeline.training.adapter_fit import (
    ADAPTER_WEIGHTS,
    PREFIX,
    adapter_layers,
    adapter_settings,
)

_FACTORS = {"lora_A.weight", "lora_B.weight"}
_OTHERWISE = (
    "alora_invocation_tokens",
    "fan_in_fan_out",
    "layer_replication",
    "modules_to_save",
    "target_parameters",
    "trainable_token_indices",
    "use_dora",
    "use_qalora",
)
"""Settings of PEFT with which an adapter is more than a product of two matrices."""
_SESSION_LOG = "log_severity_level"
_ERRORS = 3
"""ONNX Runtime's level for errors alone. It warns of every optional input of a graph."""


def why_not_separate(folder: Path) -> str:
    """Return why the adapter in ``folder`` can only be merged; empty if it need not be.

    Raises :class:`StepError` if there is no adapter, or a broken one.
    """
    settings = adapter_settings(folder)
    if settings["peft_type"] != "LORA":
        return f"its kind is {settings['peft_type']}, not LORA"
    for name in _OTHERWISE:
        if settings.get(name):
            return f"{name} makes it more than products of two matrices"
    for layer, tensors in adapter_layers(folder).items():
        if tensors.keys() != _FACTORS:
            other = min(tensors.keys() - _FACTORS, default="one matrix alone")
            return f"it has {other} of {layer}, besides products of two matrices"
    return ""


def attach(
    model: Path, checkpoint: Path, adapter: Path, name: str, layers: Collection[str] = ()
) -> dict[str, int]:
    """Add the adapter in the PEFT folder ``adapter`` to the model folder ``model``, in place.

    ``checkpoint`` is what the model was built from. ``layers`` are the layers whose matrices get
    inputs, by the last parts of their names; by default those of the adapter. Returns how many
    parts of matrices can be adapted, and how many are.

    Raises :class:`StepError` if the adapter cannot be kept separate from this model.
    """
    import onnx

    from pipeline.onnx.adapter_file import write_adapter
    from pipeline.onnx.adapter_inputs import add_inputs, number_format
    from pipeline.onnx.checkpoint import Checkpoint
    from pipeline.onnx.genai_config import GenAiConfig
    from pipeline.onnx.graph import OnnxModel
    from pipeline.onnx.origins import Origins

    if reason := why_not_separate(adapter):
        raise unfit(reason)
    built_from = Checkpoint(checkpoint)
    changes = _changes(adapter, built_from.shapes)
    own = {_layer(tensor) for tensor in changes}
    if layers and (others := sorted(own - set(layers))):
        raise StepError(
            f"the adapter changes {', '.join(others)} too", f"add them to layers of '{name}'"
        )
    path = model / GenAiConfig(model).filename
    graph = OnnxModel(path)
    adapted = {tensor for tensor in built_from.shapes if _layer(tensor) in (layers or own)}
    parts = add_inputs(graph, Origins(built_from), adapted)
    for tensor in sorted(changes.keys() - {part.origin.tensor for part in parts}):
        raise unfit(f"{tensor} is no matrix of the graph of its own")
    weights: dict[str, Any] = {}
    for part in parts:
        if part.origin.tensor in changes:
            first, second = changes[part.origin.tensor]
            rows = slice(part.origin.tensor_first, part.origin.tensor_first + part.origin.count)
            for input_name, factor in ((part.first, first.T), (part.second, second[rows].T)):
                weights[input_name] = factor.astype(number_format(graph, input_name), order="C")
    write_adapter(model / f"{name}{SUFFIX}", weights)
    onnx.save(graph.proto, str(path))
    _quiet(model)
    return {"adaptable": len(parts), "adapted": len(weights) // 2}


def unfit(reason: str) -> StepError:
    """Return the error for an adapter that has to be merged."""
    return StepError(
        f"the adapter cannot be kept separate: {reason}",
        "merge it: merge, model_builder",
        "bad_input",
    )


def _changes(adapter: Path, shapes: Mapping[str, Shape]) -> dict[str, tuple[Any, Any]]:
    """Return what the adapter's matrices are by the names of the tensors that they change: ``A``
    [rank, inputs], and ``B`` [outputs, rank] with the scale in it."""
    import numpy as np
    from safetensors import safe_open

    settings = adapter_settings(adapter)
    changes = {}
    with safe_open(adapter / ADAPTER_WEIGHTS, framework="pt") as stored:
        for layer in adapter_layers(adapter):
            first, second = (
                stored.get_tensor(f"{PREFIX}{layer}.{factor}").float().numpy()
                for factor in ("lora_A.weight", "lora_B.weight")
            )
            # A checkpoint may have been saved without its outer module.
            names = (f"{layer}.weight", f"{layer.partition('.')[2]}.weight")
            tensor = next((name for name in names if name in shapes), names[0])
            changes[tensor] = first, second * np.float32(_scale(settings, layer, len(first)))
    return changes


def _scale(settings: Mapping[str, Any], layer: str, rank: int) -> float:
    """Return by what the product of a layer's two matrices is multiplied (LoRA, arXiv 2106.09685;
    rank-stabilised, arXiv 2312.03732)."""
    patterns: Mapping[str, float] = settings.get("alpha_pattern") or {}
    fitting = (alpha for key, alpha in patterns.items() if re.match(rf"(.*\.)?({key})$", layer))
    alpha = float(next(fitting, settings["lora_alpha"]))
    return alpha / (rank**0.5 if settings.get("use_rslora") else rank)


def _layer(tensor: str) -> str:
    """Return the last part of a layer's name: ``q_proj``."""
    return tensor.removesuffix(".weight").rpartition(".")[2]


def _quiet(model: Path) -> None:
    """Have the runtime not warn of every optional input of the graph, two a matrix."""
    path = model / "genai_config.json"
    config = json.loads(path.read_text("utf-8"))
    config["model"]["decoder"]["session_options"].setdefault(_SESSION_LOG, _ERRORS)
    write_config(path, config)
