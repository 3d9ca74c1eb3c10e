"""Reads adapters that PEFT saved, and checks that they fit a model: by their settings, and by the
names and shapes of their tensors. Free of any ML library."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

from pipeline.contract.errors import StepError
from pipeline.contract.space import Shape
from pipeline.reading.json_text import read_json
from pipeline.weights.files import stored_in, tensors_of

ADAPTER_SETTINGS = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
_PICKLED = "adapter_model.bin"
PREFIX = "base_model.model."
"""With which PEFT begins the names of an adapter's tensors."""

MERGEABLE = ("LORA", "LOHA", "LOKR")
"""PEFT's names of the kinds of adapters that are merged here."""

_TRANSPOSED = ("gpt2", "openai-gpt")
"""Model types whose blocks have transformers' ``Conv1D``, with matrices stored as [in, out]."""

_FACTORS = ("lora_A", "lora_B", "hada_w", "lokr_w")
"""Beginnings of the names of the matrices whose products are an update."""

_ADAPTER_TENSOR = re.compile(r"(?P<layer>.+)\.(?P<tensor>(lora|hada|lokr)_.+)")
"""Name of a tensor that PEFT saves for a layer with an adapter."""

AdapterLayers = Mapping[str, Mapping[str, Shape]]
"""Shapes of an adapter's tensors by layer and tensor: ``lora_A.weight`` of ``model.layers.0...``. A
layer that was trained whole has the one tensor ``weight``."""


def adapter_mismatch(detail: object) -> StepError:
    """Return the error for an adapter that does not fit its base."""
    return StepError(f"the adapter was made for another model: {detail}", "", "bad_input")


def adapter_settings(folder: Path) -> Mapping[str, Any]:
    """Return the settings of the adapter in ``folder``.

    Raises :class:`StepError` if there is no adapter, or one that cannot be merged.
    """
    try:
        settings = read_json(folder / ADAPTER_SETTINGS)
    except FileNotFoundError:
        raise _unusable(
            f"it holds no {ADAPTER_SETTINGS}", "name the folder that PEFT saved"
        ) from None
    except (OSError, ValueError) as error:
        raise _unusable(f"its {ADAPTER_SETTINGS} cannot be read: {error}") from None
    kind = settings.get("peft_type") if isinstance(settings, dict) else None
    if kind not in MERGEABLE:
        raise _unusable(
            f"its kind is {kind}, which is not merged into weights here"
            if kind
            else f"its {ADAPTER_SETTINGS} names no peft_type",
            f"it can be: {', '.join(MERGEABLE)}",
        )
    return dict(settings)


def adapter_layers(folder: Path) -> AdapterLayers:
    """Return the layers of the adapter in ``folder``, from the header of its file alone.

    Raises :class:`StepError` if there is no such file, or a broken one.
    """
    path = folder / ADAPTER_WEIGHTS
    if not path.is_file():
        if (folder / _PICKLED).is_file():
            raise _unusable(
                f"its weights are pickled ({_PICKLED}), which can run code when loaded",
                "load it with PEFT where you trust it, and save_pretrained it again",
            )
        raise _unusable(f"it holds no {ADAPTER_WEIGHTS}", "name the folder that PEFT saved")
    layers: dict[str, dict[str, Shape]] = defaultdict(dict)
    for full, tensor in stored_in(path).items():
        name = full.removeprefix(PREFIX)
        if match := _ADAPTER_TENSOR.fullmatch(name):
            layers[match["layer"]][match["tensor"]] = tensor.shape
        elif name.endswith(".weight"):
            layers[name.removesuffix(".weight")]["weight"] = tensor.shape
    return layers


def changed_layers(folder: Path) -> frozenset[str]:
    """Return the layers that the adapter in ``folder`` changes: their matrices, or biases alone.

    Raises as :func:`adapter_layers` does.
    """
    layers = adapter_layers(folder)
    names = (name.removeprefix(PREFIX) for name in stored_in(folder / ADAPTER_WEIGHTS))
    biases = (name.removesuffix(".bias") for name in names if name.endswith(".bias"))
    return frozenset({*layers, *biases})


def misfits(layers: AdapterLayers, shapes: Mapping[str, Shape]) -> Iterator[str]:
    """Yield how the adapter's ``layers`` differ from a model whose parameters have ``shapes``, with
    matrices as [out, in]."""
    for layer, parts in layers.items():
        own, whole = shapes.get(f"{layer}.weight"), parts.get("weight")
        if own is None:
            if whole is None:  # a layer that was trained as a whole may be tied to another
                yield f"there is no layer {layer}"
            continue
        factors = [shape for name, shape in parts.items() if name.startswith(_FACTORS)]
        if not whole and any(len(shape) != 2 for shape in factors):
            yield f"the factors of {layer} are no matrices"
            continue
        rows, columns = (whole[0], whole[-1]) if whole else _size(parts)
        if (rows or own[0], columns or own[-1]) != (own[0], own[-1]):
            yield f"{layer} has another size"


def stored_misfits(adapter: Path, base: Path) -> Iterator[str]:
    """Yield how the adapter in one folder differs from the checkpoint in another, by their headers.

    Nothing is said of pickled weights, nor of a mixture of experts, whose layers transformers joins
    when it loads them.
    """
    stored = {name: tensor.shape for name, tensor in tensors_of(base).items()}
    if not stored or any(".experts." in name for name in stored):
        return
    config = _config(base)
    # What shares its tensor with another layer is not stored.
    layers = {
        layer: parts
        for layer, parts in adapter_layers(adapter).items()
        if not (config.get("tie_word_embeddings") and "." not in layer)
    }
    if config.get("model_type") in _TRANSPOSED:
        stored = {name: shape[::-1] if ".h." in name else shape for name, shape in stored.items()}
    # A checkpoint may have been saved without its outer module: `layers.0`, not `model.layers.0`.
    inner = {f"{layer}.weight": f"{layer.partition('.')[2]}.weight" for layer in layers}
    shapes = {name: stored.get(name, stored.get(short)) for name, short in inner.items()}
    yield from misfits(layers, {name: shape for name, shape in shapes.items() if shape})


def require_fit(model: Any, adapter: Path) -> None:
    """Raise :class:`StepError` if the adapter's layers or shapes are not those of the model."""
    # Also those that share a tensor with another layer.
    weights = model.named_parameters(remove_duplicate=False)
    shapes = {name: tuple(weight.shape) for name, weight in weights}
    for name, module in model.named_modules():
        if type(module).__name__ == "Conv1D":
            shapes[f"{name}.weight"] = shapes[f"{name}.weight"][::-1]
    for misfit in misfits(adapter_layers(adapter), shapes):
        raise adapter_mismatch(misfit)


def require_loaded(adapted: Any, adapter: Path) -> None:
    """Raise :class:`StepError` if PEFT left out layers of the adapter when it loaded it, as it does
    without an error: the ``PeftModel`` would be another than was trained."""
    parts = dict(adapted.get_base_model().named_modules())
    for layer, tensors in adapter_layers(adapter).items():
        if "weight" not in tensors and not hasattr(parts.get(layer), "base_layer"):
            raise StepError(
                f"PEFT leaves {layer} of the adapter out when it loads it",
                "leave the embeddings out of target_modules",
                "bad_input",
            )


def _config(folder: Path) -> Mapping[str, Any]:
    try:
        config = read_json(folder / "config.json")
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


def _unusable(message: str, hint: str = "") -> StepError:
    return StepError(f"not an adapter that can be used: {message}", hint, "bad_input")


def _size(parts: Mapping[str, tuple[int, ...]]) -> tuple[int, int]:
    """Return the shape (out, in) of the update that an adapter's tensors make to one layer; 0 where
    it is unknown. A product has the rows of its first matrix and the columns of its last."""
    if any(name.startswith("lokr") for name in parts):
        factors = [
            (first[0], last[1])
            for number in "12"
            if (first := parts.get(f"lokr_w{number}", parts.get(f"lokr_w{number}_a")))
            and (last := parts.get(f"lokr_w{number}", parts.get(f"lokr_w{number}_b")))
        ]
        return prod(rows for rows, _ in factors), prod(columns for _, columns in factors)
    first = parts.get("hada_w1_a", parts.get("lora_B.weight"))
    last = parts.get("hada_w1_b", parts.get("lora_A.weight"))
    return first[0] if first else 0, last[1] if last else 0
