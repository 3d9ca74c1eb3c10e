"""Merges an adapter into its base."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from pipeline.contract.errors import StepError
from pipeline.contract.step import Inputs
from pipeline.training import tied_embeddings
from pipeline.training.adapter_fit import adapter_mismatch, require_fit, require_loaded
from pipeline.training.checkpoint_files import copy_other_files, remove_paths
from pipeline.training.determinism import prepare
from pipeline.training.fingerprint import check_fingerprint
from pipeline.training.loading import load_model
from pipeline.training.merged import (
    MergedWeights,
    NotMergeableByLayer,
    adapted_model,
    merged_weights,
    require_finite,
)
from pipeline.training.quantization import BaseQuantization
from pipeline.training.streamed import shortage_of_memory, streamed, why_not_streamed
from pipeline.weights.deferred import NotDeferrable
from pipeline.weights.mode import ONE_BY_ONE, WeightsMode
from pipeline.weights.shards import write_shards

if TYPE_CHECKING:
    from pipeline.training.merge_params import MergeParams


def merge(inputs: Inputs, params: MergeParams, out_dir: Path) -> dict[str, JsonValue]:
    """Write base plus adapter as a checkpoint; return the figures of the merge.

    Done tensor by tensor if the adapter allows it; otherwise with all weights in memory, and a
    warning. Raises :class:`StepError` if the adapter was made for another model.
    """
    try:
        weights = merged_one_by_one(inputs, params)
    except NotMergeableByLayer as reason:
        mode = WeightsMode(str(reason))
        inputs.report.warn(mode.warning)
        return {**_merge_at_once(inputs, params, out_dir), "weights": str(mode)}
    write_shards(weights.tensors, inputs["model"], out_dir, _progress(inputs))
    weights.config.save_pretrained(out_dir)
    copy_other_files(inputs["model"], out_dir)
    remove_paths(out_dir)
    return {**merge_metrics(weights), "weights": str(ONE_BY_ONE)}


def merged_one_by_one(inputs: Inputs, params: MergeParams) -> MergedWeights:
    """Return the merged weights as deferred tensors.

    Raises :class:`NotMergeableByLayer`, and :class:`StepError` if the adapter was made for another
    model.
    """
    prepare(inputs.seed, inputs.threads)
    folder, adapter = inputs["model"], inputs["adapter"]
    quantization = _quantization(folder, adapter, params)
    _require_deferrable(folder, params)
    return merged_weights(folder, adapter, quantization, _dtype(params))


def load_adapted(inputs: Inputs, params: MergeParams) -> Any:
    """Return the ``PeftModel`` of base and adapter, not merged, in fp32 and ready to be run:
    streamed where memory has no room for all weights. Raises as :func:`load_base` does."""
    shortage = shortage_of_memory(inputs["model"])
    if shortage:
        try:
            return _adapt_streamed(inputs["model"], inputs["adapter"], params).eval()
        except (NotMergeableByLayer, NotDeferrable) as reason:
            inputs.report.warn(f"{WeightsMode(str(reason)).warning}; {shortage}")
    base = load_base(inputs["model"], inputs["adapter"], params)
    return adapt(base, inputs["adapter"]).model.eval()


def _adapt_streamed(folder: Path, adapter: Path, params: MergeParams) -> Any:
    """Return the ``PeftModel`` of base and adapter, not merged, whose layers compute their weights
    as they run. Raises as :func:`merged_one_by_one` does."""
    quantization = _quantization(folder, adapter, params)
    _require_deferrable(folder, params)
    model = adapted_model(folder, adapter, quantization).model
    streamed(model.base_model.model)
    return model


def _require_deferrable(folder: Path, params: MergeParams) -> None:
    reason = why_not_streamed(folder, params)
    if reason:
        raise NotMergeableByLayer(reason)


def merge_metrics(weights: MergedWeights) -> dict[str, JsonValue]:
    """Return the figures of a merge whose weights have all been computed."""
    return _metrics(weights.parameters, weights.dtype, weights.dequantized, weights.relative_change)


def _merge_at_once(inputs: Inputs, params: MergeParams, out_dir: Path) -> dict[str, JsonValue]:
    from pipeline.weights.arithmetic import SameBits

    base = load_base(inputs["model"], inputs["adapter"], params)
    before = {name: weight.detach().clone() for name, weight in base.model.named_parameters()}
    adapted = adapt(base, inputs["adapter"])
    parted = tied_embeddings.part(adapted.model)
    with SameBits():
        merged = adapted.model.merge_and_unload(safe_merge=True)
    if parted:
        tied_embeddings.join(merged)
    change = _relative_change(before, merged)
    dtype = _dtype(params) or base.dtype
    merged = merged.to(dtype)
    for weight in merged.parameters():
        require_finite(weight)
    merged.save_pretrained(out_dir)
    copy_other_files(inputs["model"], out_dir)
    remove_paths(out_dir)
    return _metrics(merged.num_parameters(), dtype, adapted.dequantized, change)


def _metrics(parameters: int, dtype: Any, dequantized: int, change: float) -> dict[str, JsonValue]:
    return {
        "parameters": parameters,
        "dtype": str(dtype).removeprefix("torch."),
        "into": "dequantized" if dequantized else "original",
        "dequantized_layers": dequantized,
        "relative_change": round(change, 6),
    }


def _dtype(params: MergeParams) -> Any:
    """Return the requested number format; ``None`` for the base's."""
    import torch

    dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    return dtypes.get(params.dtype)


def _progress(inputs: Inputs) -> Callable[[int, int], None]:
    return lambda done, total: inputs.report.progress(done, total, "tensors")


@dataclass(frozen=True)
class AdapterBase:
    """The base that an adapter is merged into."""

    model: Any
    """The model, in fp32 on the CPU."""
    dtype: Any
    """Number format of its stored weights."""
    quantization: BaseQuantization | None
    """Quantization that has yet to be applied and undone, as in training; ``None`` for none."""


@dataclass(frozen=True)
class Adapted:
    """A base with an adapter that is not merged yet."""

    model: Any
    """A ``PeftModel`` in fp32 on the CPU."""
    dequantized: int
    """Number of layers of the base that were quantized and dequantized."""


def load_base(folder: Path, adapter: Path, params: MergeParams) -> AdapterBase:
    """Load the base in ``folder``, with the quantization that ``params`` ask for.

    Raises :class:`StepError` if ``adapter`` was trained over another base, or if ``params`` ask for
    a quantization that ``adapter`` does not have.
    """
    import torch

    quantization = _quantization(folder, adapter, params)
    model = load_model(folder, params)
    dtype = model.dtype
    return AdapterBase(model.to("cpu", torch.float32), dtype, quantization)


def _quantization(folder: Path, adapter: Path, params: MergeParams) -> BaseQuantization | None:
    """Return the quantization to apply to the base before ``adapter`` is merged into it.

    Raises :class:`StepError` as :func:`load_base` does.
    """
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
    return None if params.into == "original" else quantization


def adapt(base: AdapterBase, adapter: Path) -> Adapted:
    """Add ``adapter`` to ``base``, in place. Raises :class:`StepError` if it does not fit."""
    from peft import PeftModel

    rounded = 0 if base.quantization is None else base.quantization.round_trip(base.model)
    require_fit(base.model, adapter)
    try:
        model = PeftModel.from_pretrained(base.model, adapter, is_trainable=False)
    except (RuntimeError, ValueError, KeyError) as error:
        raise adapter_mismatch(error) from error
    require_loaded(model, adapter)
    return Adapted(model, rounded)


def _relative_change(before: dict[str, Any], model: Any) -> float:
    """Return ``|after - before| / |before|`` over all weights (Frobenius norms)."""
    moved = total = 0.0
    for name, weight in model.named_parameters():
        old = before.get(name)
        if old is not None and old.shape == weight.shape:
            moved += float((weight.detach() - old).double().pow(2).sum())
            total += float(old.double().pow(2).sum())
    return (moved / total) ** 0.5 if total else 0.0
