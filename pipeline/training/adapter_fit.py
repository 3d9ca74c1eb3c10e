"""Checks that an adapter fits a model, by the names and shapes of its tensors."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

from pipeline.contract.errors import StepError

_ADAPTER_TENSOR = re.compile(r"(?P<layer>.+)\.(?P<tensor>(lora|hada|lokr)_.+)")
"""Name of a tensor that PEFT saves for a layer with an adapter."""


def adapter_mismatch(detail: object) -> StepError:
    """Return the error for an adapter that does not fit its base."""
    return StepError(f"the adapter was made for another model: {detail}", "", "bad_input")


def require_fit(model: Any, adapter: Path) -> None:
    """Raise :class:`StepError` if the adapter's layers or shapes are not those of the model."""
    from safetensors import safe_open

    path = adapter / "adapter_model.safetensors"
    if not path.is_file():
        raise StepError("the adapter has no adapter_model.safetensors", cause="bad_input")
    shapes = {name: tuple(weight.shape) for name, weight in model.named_parameters()}
    tensors: dict[str, dict[str, tuple[int, ...]]] = defaultdict(dict)
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 - not a dict
            if match := _ADAPTER_TENSOR.fullmatch(name.removeprefix("base_model.model.")):
                shape = tuple(file.get_slice(name).get_shape())
                tensors[match["layer"]][match["tensor"]] = shape
    for layer, parts in tensors.items():
        base_shape = shapes.get(f"{layer}.weight")
        if base_shape is None:
            raise adapter_mismatch(f"there is no layer {layer}")
        rows, columns = _size(parts)
        if (rows or base_shape[0], columns or base_shape[1]) != base_shape:
            raise adapter_mismatch(f"{layer} has another size")


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
