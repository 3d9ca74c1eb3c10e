"""Runs ``onnxruntime_genai``'s model builder so that its output is complete and reproducible."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from pipeline.builder.call import BuilderCall, create
from pipeline.builder.finish import finish
from pipeline.builder.foundry_template import foundry_template
from pipeline.builder.options import (
    CHOSEN,
    OPTIONS,
    known_options,
    requested_options,
    required_options,
    resolve,
)
from pipeline.builder.params import ModelBuilderParams
from pipeline.builder.supported import shape_problems
from pipeline.contract.errors import StepError
from pipeline.contract.step import Reporter
from pipeline.contract.suggest import did_you_mean
from pipeline.data.tokenizer import load_artifact_tokenizer
from pipeline.evaluation.settings import left_out_note
from pipeline.onnx.checkpoint import Checkpoint
from pipeline.onnx.graph import OnnxModel
from pipeline.onnx.origins import HEAD
from pipeline.weights.mode import WeightsMode
from pipeline.weights.widths import Widths

if TYPE_CHECKING:
    from pipeline.weights.deferred import Deferred

_MIXED = "matmul_mixed_precision"
"""The builder's option for an output layer of another width, since onnxruntime_genai 0.14."""


def build(
    model: Path,
    out_dir: Path,
    params: ModelBuilderParams,
    report: Reporter,
    weights: Mapping[str, Deferred] | None = None,
    integers: Path | None = None,
    widths: Path | None = None,
) -> dict[str, JsonValue]:
    """Build ``model`` into ``out_dir`` and return the options and properties of the artifact.

    The weights are read, quantized and written one by one if that gives the same bytes as the
    builder alone; otherwise all are in memory at once, and a warning says so. ``weights`` replace
    those in the folder ``model``, under the same names. Those with integers in the folder
    ``integers`` are written so, and not quantized; those with a width in the folder ``widths`` have
    that one.

    Raises :class:`StepError` for a model that the builder would build wrongly, for an option that
    it does not know, and for any error of the builder; and
    :class:`pipeline.builder.matrices.NotStreamable` if ``weights`` cannot be processed one by one.
    """
    checkpoint = Checkpoint(model)
    check_shapes(checkpoint)
    note = left_out_note(checkpoint.generation_config)
    if note:
        report.warn(note)
    chosen = None if widths is None else Widths.load(widths)
    params = _with_wide_head(params, chosen, checkpoint)
    options = options_of(checkpoint, params)
    call = BuilderCall(checkpoint, out_dir, params, options, weights, integers, chosen)
    mode, end_ids = build_with(call, report)
    return {
        **recorded_as(params, options),
        CHOSEN: integers is not None,
        "weights": str(mode),
        "eos_token_ids": list(end_ids),
        "foundry_template": foundry_template(load_artifact_tokenizer(out_dir)),
        "bytes": sum(file.stat().st_size for file in out_dir.iterdir()),
    }


def build_at(
    paths: Mapping[str, Path], params: ModelBuilderParams, out_dir: Path, report: Reporter
) -> dict[str, JsonValue]:
    """:func:`build` the ``model`` of ``paths``, with the ``integers`` and the ``widths`` that are
    among them."""
    integers, widths = (paths.get(choice) for choice in ("integers", "widths"))
    return build(paths["model"], out_dir, params, report, integers=integers, widths=widths)


def options_of(checkpoint: Checkpoint, params: ModelBuilderParams) -> dict[str, str]:
    """Return the builder's own options for ``checkpoint`` and ``params``."""
    known = known_options()
    required = required_options(checkpoint.config, known)
    return resolve({**required, **requested_options(params)}, known)


def _with_wide_head(
    params: ModelBuilderParams, widths: Widths | None, checkpoint: Checkpoint
) -> ModelBuilderParams:
    """Return ``params`` that say so where the output layer is to be kept in int8: an embedding that
    shares its weights is made before anything is quantized."""
    tensors = checkpoint.tensors
    heads = [name for name in tensors.linear if HEAD in name] or [*tensors.embedding]
    wide = widths is not None and any(name in widths.int8 for name in heads)
    if not wide or _MIXED not in known_options():
        return params
    mixed = {**params.mixed_precision, "last_matmul": "int8"}
    return params.model_copy(update={"mixed_precision": mixed})


def recorded_as(params: ModelBuilderParams, options: Mapping[str, str]) -> dict[str, JsonValue]:
    """Return what an artifact's metrics say of how it was built, so that it can be built again."""
    requested = params.model_dump(mode="json", exclude={"trust_remote_code", "extra_options"})
    return {**requested, OPTIONS: dict(options)}


def build_with(call: BuilderCall, report: Reporter) -> tuple[WeightsMode, tuple[int, ...]]:
    """Run the builder and complete its folder; return how the weights were processed, and the ids
    that end an answer. Raises what :func:`build` does."""
    mode, out_dir, params = create(call, report), call.out_dir, call.params
    if not (out_dir / "model.onnx").is_file() or not (out_dir / "genai_config.json").is_file():
        raise StepError("the model builder wrote no model.onnx or no genai_config.json")
    _check_excluded(out_dir / "model.onnx", params.nodes_to_exclude)
    return mode, finish(
        out_dir, call.checkpoint, params.session_threads, params.search, params.session
    )


def check_shapes(checkpoint: Checkpoint) -> None:
    """Raise :class:`StepError` for a model that the builder would silently build wrongly."""
    for problem, remedy in shape_problems(checkpoint):
        raise StepError(problem, remedy, "bad_input")


def _check_excluded(path: Path, names: tuple[str, ...]) -> None:
    """Raise :class:`StepError` for excluded nodes that do not exist: the builder ignores them."""
    if not names:
        return
    quantizable = {node.name for node in OnnxModel(path).of_type("MatMul", "Gather")}
    missing = [
        f"{name} ({did_you_mean(name, quantizable)})" for name in names if name not in quantizable
    ]
    if missing:
        raise StepError(
            f"nodes_to_exclude: no such node that could stay unquantized: {', '.join(missing)}",
            cause="bad_input",
        )
