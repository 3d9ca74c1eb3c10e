"""Runs ``onnxruntime_genai``'s model builder so that its output is whole and always the same."""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pydantic import JsonValue

from pipeline.onnx.builder_options import known_options, resolve, wanted_options
from pipeline.onnx.checkpoint import Checkpoint
from pipeline.onnx.finish import finish
from pipeline.onnx.graph import OnnxModel
from pipeline.onnx.params import ModelBuilderParams
from pipeline.passes.base import Reporter, StepError
from pipeline.space import is_embedding
from pipeline.suggest import did_you_mean

_QUANTIZER_LOG = "onnxruntime.quantization.matmul_nbits_quantizer"
_HEAD_SIZE_STEP = 16
"""Head sizes must be a multiple of this for rotary positions in ``GroupQueryAttention``."""


def build(
    model: Path, out_dir: Path, params: ModelBuilderParams, report: Reporter
) -> dict[str, JsonValue]:
    """Build ``model`` into ``out_dir`` and return what the artifact is.

    Raises :class:`StepError` for a model the builder would turn into nonsense, for an option it
    does not know, and for whatever it raises itself.
    """
    checkpoint = Checkpoint(model)
    check_shapes(checkpoint)
    options = resolve(wanted_options(params), known_options())
    with tempfile.TemporaryDirectory() as cache, _told(checkpoint, report):
        _create(checkpoint, out_dir, params, cache, options)
    if not (out_dir / "model.onnx").is_file() or not (out_dir / "genai_config.json").is_file():
        raise StepError("the model builder wrote no model.onnx or no genai_config.json")
    _check_excluded(out_dir / "model.onnx", params.nodes_to_exclude)
    ends = finish(out_dir, checkpoint, params.threads, params.search, params.session)
    asked = params.model_dump(mode="json", exclude={"trust_remote_code", "extra_options"})
    return {
        **asked,
        "builder_options": dict(options),
        "eos_token_ids": list(ends),
        "bytes": sum(file.stat().st_size for file in out_dir.iterdir()),
    }


def check_shapes(checkpoint: Checkpoint) -> None:
    """Refuse a model that the builder would silently build wrong."""
    vocabulary = checkpoint.config.get("vocab_size")
    for name, shape in checkpoint.linear.items():
        if shape[0] == vocabulary and "lm_head" not in name and not is_embedding(name):
            # The builder takes every linear layer with that many outputs for the output layer
            # (`has_lm_head` in builders/base.py) and ends the graph after the first one.
            raise StepError(
                f"{name} has as many outputs as the vocabulary has tokens ({vocabulary}); the "
                "model builder would take it for the output layer and build a broken model",
                hint="pad the vocabulary or change the layer's size",
                cause="bad_input",
            )
    size = checkpoint.head_size
    if size is not None and size % _HEAD_SIZE_STEP:
        raise StepError(
            f"the model's attention heads have size {size}; ONNX Runtime's attention needs a "
            f"multiple of {_HEAD_SIZE_STEP}",
            cause="bad_input",
        )


def _check_excluded(path: Path, names: tuple[str, ...]) -> None:
    """Refuse exclusions that name no node: the builder quantizes as if they were not there."""
    if not names:
        return
    left = {node.name for node in OnnxModel(path).of_type("MatMul", "Gather")}
    missing = [f"{name} ({did_you_mean(name, left)})" for name in names if name not in left]
    if missing:
        raise StepError(
            f"nodes_to_exclude: no such node that could stay unquantized: {', '.join(missing)}",
            cause="bad_input",
        )


def _create(
    checkpoint: Checkpoint,
    out_dir: Path,
    params: ModelBuilderParams,
    cache: str,
    options: dict[str, str],
) -> None:
    from onnxruntime_genai.models.builder import create_model, parse_extra_options

    from pipeline.arithmetic import SameBits

    precision, provider = params.precision, params.execution_provider
    where = (None, str(checkpoint.folder), str(out_dir), precision, provider, cache)
    pairs = [f"{name}={value}" for name, value in options.items()]
    try:
        if "kv_items" in inspect.signature(parse_extra_options).parameters:  # up to 0.13
            parsed = parse_extra_options(pairs, provider)
        else:
            parsed = parse_extra_options(*where, pairs)
        with SameBits():
            create_model(*where, **parsed)
    except (OSError, MemoryError, StepError):
        raise
    except Exception as error:
        text = str(error).strip() or type(error).__name__
        raise StepError(
            f"the model builder failed: {text.splitlines()[-1]}",
            hint=_odd_blocks(checkpoint, params),
        ) from error


def _odd_blocks(checkpoint: Checkpoint, params: ModelBuilderParams) -> str:
    """Return a hint where k_quant is asked for what it crashes on ("cannot reshape array"): it
    packs two zero points into a byte without regard to where a row of blocks ends."""
    if not params.algorithm.startswith("k_quant"):
        return ""
    odd = [
        f"{name} ({shape[1]} inputs)"
        for name, shape in checkpoint.linear.items()
        if -(-shape[1] // params.block_size) % 2
    ]
    if not odd:
        return ""
    return (
        f"{params.algorithm} needs an even number of blocks of {params.block_size} per row, which "
        f"{odd[0]} has not; use another block_size, or algorithm rtn"
    )


@contextlib.contextmanager
def _told(checkpoint: Checkpoint, report: Reporter) -> Iterator[None]:
    """Turn the builder's chatter into progress while the block runs."""
    layers = int(checkpoint.config.get("num_hidden_layers", 0))
    log = logging.getLogger(_QUANTIZER_LOG)
    counter = _QuantizerProgress(len(checkpoint.linear), report)
    log.addHandler(counter)
    try:
        with contextlib.redirect_stdout(_BuilderOutput(layers, report)):
            yield
    finally:
        log.removeHandler(counter)


class _BuilderOutput(io.StringIO):
    """Standard output of the builder: told as progress or as a warning, and not kept."""

    def __init__(self, layers: int, report: Reporter) -> None:
        super().__init__()
        self._layers = layers
        self._report = report

    def write(self, text: str) -> int:
        if match := re.fullmatch(r"Reading layer (\d+)", text.strip()):
            self._report.progress(int(match[1]) + 1, max(self._layers, 1), "layers")
        elif text.lstrip().casefold().startswith("warning:"):
            self._report.warn(text.strip())
        return len(text)


class _QuantizerProgress(logging.Handler):
    """Counts the matrices that the quantizer says are done."""

    def __init__(self, total: int, report: Reporter) -> None:
        super().__init__()
        self._total = total
        self._done = 0
        self._report = report

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith("complete quantization"):
            self._done += 1
            # A fused projection may be split in the graph, so the total is a lower bound.
            self._report.progress(self._done, max(self._total, self._done), "matrices")
