"""Chooses which matrices of a checkpoint are kept in int8, by a measurement or by a rule."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue

from pipeline.contract.errors import StepError
from pipeline.contract.step import Inputs
from pipeline.onnx.checkpoint import Checkpoint
from pipeline.onnx.origins import HEAD, Origins
from pipeline.training.mixed_params import MixedPrecisionParams
from pipeline.weights.widths import Widths

_BITS = 4
_OF_LAYER = re.compile(r"layers\.(\d+)\..*?(\w+)\.weight$")
_QUERY_KEY_VALUE = frozenset({"q_proj", "k_proj", "v_proj", "qkv_proj"})
_DOWN = frozenset({"down_proj", "w2", "fc2"})
_HIDDEN = 2 << 30
"""Bytes of hidden states that are kept at most."""
_NUMBER = 4
"""Bytes of one of them."""

Group = tuple[str, ...]
"""Names of weights that have one width."""


def choose_widths(
    inputs: Inputs, params: MixedPrecisionParams, out_dir: Path
) -> dict[str, JsonValue]:
    """Write the widths of ``inputs["model"]``; return what decided them.

    Raises :class:`StepError` for a model that cannot be measured, or where nothing can be chosen.
    """
    checkpoint = Checkpoint(inputs["model"])
    said = params.model_dump(mode="json", exclude={"trust_remote_code", "weights"})
    figures: dict[str, JsonValue] = {}
    if params.measures:
        nats, seen = _measured(inputs, params, checkpoint)
        heads = {(name,) for name in _heads(checkpoint) if params.output_layer is not None}
        sizes = {group: _sizes(group, checkpoint) for group in nats if group not in heads}
        chosen = [*heads, *most_sensitive(nats, sizes, params.int8_share)]
        left = [value for group, value in nats.items() if group not in chosen]
        figures = {
            **seen,
            "nats": {", ".join(group): value for group, value in nats.items()},
            "all_nats": sum(nats.values()),
            "left_nats": sum(left),
        }
        names = {name for group in nats for name in group}
    else:
        names = _matrices(checkpoint)
        chosen = [(name,) for name in sorted(names) if _by_rule(name, params.choose, checkpoint)]
    int8 = {name for group in chosen for name in group}
    if not int8:
        raise StepError(
            f"no matrix is as small as {params.int8_share:.0%} of the linear layers",
            "raise int8_share",
            "bad_input",
        )
    Widths(int8=tuple(sorted(int8)), int4=tuple(sorted(names - int8))).save(out_dir)
    share = _sizes(int8, checkpoint) / checkpoint.linear_weights
    return {**said, "int8": len(int8), "matrices": len(names), "share": share, **figures}


def most_sensitive(
    nats: Mapping[Group, float], sizes: Mapping[Group, int], share: float
) -> list[Group]:
    """Return the groups with the largest divergence per weight which together have at most
    ``share`` of all weights, one after the other where the next one still has room."""
    left = share * sum(sizes.values())
    chosen = []
    for group in sorted(sizes, key=lambda group: (-nats[group] / sizes[group], group)):
        if sizes[group] <= left:
            chosen.append(group)
            left -= sizes[group]
    return chosen


def _measured(
    inputs: Inputs, params: MixedPrecisionParams, checkpoint: Checkpoint
) -> tuple[dict[Group, float], dict[str, JsonValue]]:
    """Return the divergence per token of each group, and what was looked at."""
    import torch
    from transformers import AutoConfig

    from pipeline.builder.blockwise import Blockwise
    from pipeline.data.tokenize import Codec
    from pipeline.data.tokenizer import load_tokenizer
    from pipeline.training.calibration import Calibration
    from pipeline.training.calibration_rows import calibration_rows
    from pipeline.training.determinism import prepare
    from pipeline.training.named_kernels import named_kernels
    from pipeline.training.sensitivity import Sensitivity
    from pipeline.training.snapshots import Snapshots
    from pipeline.training.streamed import deferred_model, why_not_streamed
    from pipeline.weights.stored import stored_tensors

    model = inputs["model"]
    why = why_not_streamed(model, params)
    if why:
        advice = 'choose = "k_quant_mixed" measures nothing'
        raise StepError(f"mixed_precision reads weights one by one: {why}", advice, "bad_input")
    prepare(inputs.seed, inputs.threads)
    codec = Codec(load_tokenizer(model))
    rows = calibration_rows(inputs, codec, params.samples, params.max_length)
    rows = rows[: _with_room(rows, checkpoint)]
    weights = {name: one.to(torch.float32) for name, one in stored_tensors(model).items()}
    # Whatever rounds later, the errors are alike: what this takes is the quickest.
    method = Blockwise(_BITS, params.block_size, least_squares=False, zero_points=True)
    with named_kernels(inputs.threads):
        config = AutoConfig.from_pretrained(model, local_files_only=True)
        whole = deferred_model(config, weights).eval()
        measured = Sensitivity(
            whole,
            Calibration(whole, rows),
            method,
            inputs.seed,
            lambda done, total: inputs.report.progress(done, total, "layers"),
            Snapshots(inputs.unfinished, params.save_layers, inputs.report, "layer"),
        ).measure()
    known = {
        tuple(sorted(names)): value
        for group, value in measured.items()
        if (names := [_stored_as(name, checkpoint) for name in group]) and all(names)
    }
    if not known:
        raise StepError("the model has no matrices that can be measured", cause="bad_input")
    return known, {"rows": len(rows), "tokens": sum(map(len, rows))}


def _with_room(rows: Sequence[Sequence[int]], checkpoint: Checkpoint) -> int:
    """Return how many of ``rows`` have room for their hidden states before each layer, at least
    one."""
    config = checkpoint.config
    each = int(config.get("hidden_size", 1)) * (int(config.get("num_hidden_layers", 1)) + 1)
    tokens, count = _HIDDEN // (each * _NUMBER), 0
    for row in rows:
        tokens -= len(row)
        if tokens < 0:
            break
        count += 1
    return max(count, 1)


def _stored_as(name: str, checkpoint: Checkpoint) -> str:
    """Return the name that the files have for a weight of the model; empty for none."""
    if name in checkpoint.shapes:
        return name
    rows = int(checkpoint.config.get("vocab_size", 0))
    origins = Origins(checkpoint).of(HEAD, rows) if HEAD in name else []
    return origins[0].tensor if origins else ""


def _sizes(names: Iterable[str], checkpoint: Checkpoint) -> int:
    """Return how many numbers some weights have together."""
    return sum(math.prod(checkpoint.shapes[name]) for name in names)


def _matrices(checkpoint: Checkpoint) -> set[str]:
    """Return the names of the matrices of the layers, and of the output layer."""
    names = {
        name
        for name, shape in checkpoint.shapes.items()
        if len(shape) == 2 and _OF_LAYER.search(name)
    }
    return names | set(_heads(checkpoint))


def _heads(checkpoint: Checkpoint) -> Iterator[str]:
    name = _stored_as(f"{HEAD}.weight", checkpoint)
    if name:
        yield name


def _by_rule(name: str, rule: str, checkpoint: Checkpoint) -> bool:
    """Return whether a rule keeps a matrix in int8: ``use_more_bits`` of llama.cpp's
    ``llama-quant.cpp``, with eighths as Olive's ``SelectiveMixedPrecision`` has them."""
    match = _OF_LAYER.search(name)
    if match is None:
        return True
    layer, projection = int(match[1]), match[2]
    layers = int(checkpoint.config.get("num_hidden_layers", 0))
    outer = 8 * layer < layers or 8 * layer >= 7 * layers
    more = outer or (layer - layers // 8) % 3 == 2
    wanted = _DOWN if rule == "k_quant_down" else _DOWN | _QUERY_KEY_VALUE
    return rule != "k_quant_last" and more and projection in wanted
