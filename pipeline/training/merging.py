"""The arithmetic of a merge."""

from __future__ import annotations

import json
import re
import shutil
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from pipeline.passes.base import Inputs, StepError
from pipeline.training.determinism import prepare
from pipeline.training.fingerprint import check_fingerprint
from pipeline.training.loading import load_model
from pipeline.training.quantization import BaseQuantization

if TYPE_CHECKING:
    from pipeline.training.params import MergeParams

_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".h5", ".msgpack", ".index.json", ".gguf")
_ADAPTER_TENSOR = re.compile(r"(?P<layer>.+)\.(?P<tensor>(lora|hada|lokr)_.+)")
"""A tensor that PEFT saves for a layer with an adapter."""
_REWRITTEN = ("config.json", "generation_config.json")


def merge(inputs: Inputs, params: MergeParams, out_dir: Path) -> dict[str, JsonValue]:
    """Write base plus adapter as a checkpoint of plain weights; return how large the change is.

    Raises :class:`StepError` where the adapter was made for another model.
    """
    import torch

    from pipeline.arithmetic import SameBits

    prepare(inputs.seed, inputs.threads)
    base = load_base(inputs["model"], inputs["adapter"], params)
    before = {name: weight.detach().clone() for name, weight in base.model.named_parameters()}
    adapted = adapt(base, inputs["adapter"])
    with SameBits():
        merged = adapted.model.merge_and_unload(safe_merge=True)
    change = _relative_change(before, merged)
    dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    dtype = base.dtype if params.dtype == "base" else dtypes[params.dtype]
    merged = merged.to(dtype)
    if not all(bool(torch.isfinite(weight).all()) for weight in merged.parameters()):
        raise StepError(f"merged weights are not finite in {dtype}", 'set dtype = "bf16" or "fp32"')
    merged.save_pretrained(out_dir)
    _copy_the_rest(inputs["model"], out_dir)
    _forget_paths(out_dir)
    return {
        "parameters": merged.num_parameters(),
        "dtype": str(dtype).removeprefix("torch."),
        "into": "dequantized" if adapted.dequantized else "original",
        "dequantized_layers": adapted.dequantized,
        "relative_change": round(change, 6),
    }


@dataclass(frozen=True)
class Base:
    """What an adapter is merged into."""

    model: Any
    """In fp32 on the CPU."""
    dtype: Any
    """Number format of its weights as they are stored."""
    quantization: BaseQuantization | None
    """How it is still to be quantized and dequantized, as in training; ``None``: not at all."""


@dataclass(frozen=True)
class Adapted:
    """An adapter on its base; nothing is merged yet."""

    model: Any
    """A ``PeftModel`` in fp32 on the CPU."""
    dequantized: int
    """Layers of the base that were quantized and dequantized."""


def load_base(folder: Path, adapter: Path, params: MergeParams) -> Base:
    """Return the base in ``folder`` as ``params`` have it.

    Raises :class:`StepError` where ``adapter`` was trained over another base, or where ``params``
    ask for one that it does not have.
    """
    import torch

    check_fingerprint(folder, adapter)
    quantization = BaseQuantization.load(adapter)
    if params.into == "dequantized" and quantization is None:
        raise StepError(
            'into = "dequantized" needs an adapter trained over a 4-bit base (qlora, loftq); '
            "this one was trained over float weights",
            "remove into, or use one of these passes",
            "bad_input",
        )
    if params.into == "original" and quantization is not None and quantization.loftq is not None:
        raise StepError(
            'into = "original" does not go with loftq: its adapter makes up for what quantization '
            "lost, which the original base still has",
            'remove into, or set into = "dequantized"',
            "bad_input",
        )
    model = load_model(folder, params)
    dtype = model.dtype
    return Base(
        model.to("cpu", torch.float32),
        dtype,
        None if params.into == "original" else quantization,
    )


def adapt(base: Base, adapter: Path) -> Adapted:
    """Put ``adapter`` on ``base``, in place. Raises :class:`StepError` where it does not fit."""
    from peft import PeftModel

    rounded = 0 if base.quantization is None else base.quantization.round_trip(base.model)
    _check_fits(base.model, adapter)
    try:
        model = PeftModel.from_pretrained(base.model, adapter, is_trainable=False)
    except (RuntimeError, ValueError, KeyError) as error:
        raise StepError(_mismatch(error), cause="bad_input") from error
    return Adapted(model, rounded)


def _check_fits(model: Any, adapter: Path) -> None:
    """Raise :class:`StepError` where the adapter's layers or shapes are not the model's."""
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
        own = shapes.get(f"{layer}.weight")
        if own is None:
            raise StepError(_mismatch(f"there is no layer {layer}"), cause="bad_input")
        rows, columns = _size(parts)
        if (rows or own[0], columns or own[1]) != own:
            raise StepError(_mismatch(f"{layer} has another size"), cause="bad_input")


def _size(parts: Mapping[str, tuple[int, ...]]) -> tuple[int, int]:
    """Return the size of the update that an adapter's tensors of one layer make, [out, in]; 0 where
    they do not say. Each product of matrices begins with its rows and ends with its columns."""
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


def _mismatch(detail: object) -> str:
    return f"the adapter was made for another model: {detail}"


def _relative_change(before: dict[str, Any], model: Any) -> float:
    """Return ``|after - before| / |before|`` over all weights (Frobenius norms)."""
    moved = total = 0.0
    for name, weight in model.named_parameters():
        old = before.get(name)
        if old is not None and old.shape == weight.shape:
            moved += float((weight.detach() - old).double().pow(2).sum())
            total += float(old.double().pow(2).sum())
    return (moved / total) ** 0.5 if total else 0.0


def _copy_the_rest(base: Path, out_dir: Path) -> None:
    """Copy what is no weight (tokenizer, chat template, licence, code) as it is."""
    for path in sorted(base.iterdir()):
        if not path.is_file() or path.name.startswith(".") or path.name.endswith(_WEIGHTS):
            continue
        if path.name not in _REWRITTEN or not (out_dir / path.name).exists():
            shutil.copyfile(path, out_dir / path.name)


def _forget_paths(out_dir: Path) -> None:
    path = out_dir / "config.json"
    settings = json.loads(path.read_text("utf-8"))
    settings.pop("_name_or_path", None)
    path.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", "utf-8")
