"""Calls ``onnxruntime_genai``'s model builder: with its weights one by one if that gives the same
bytes, otherwise unchanged."""

from __future__ import annotations

import functools
import inspect
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.builder.output import reported_output
from pipeline.builder.params import ModelBuilderParams
from pipeline.contract.errors import StepError
from pipeline.contract.step import Reporter
from pipeline.onnx.checkpoint import Checkpoint
from pipeline.process.causes import causes
from pipeline.weights.mode import ONE_BY_ONE, WeightsMode
from pipeline.weights.widths import Widths

if TYPE_CHECKING:
    from pipeline.weights.deferred import Deferred


@dataclass(frozen=True)
class BuilderCall:
    """A call of the model builder."""

    checkpoint: Checkpoint
    out_dir: Path
    params: ModelBuilderParams
    options: Mapping[str, str]
    weights: Mapping[str, Deferred] | None = None
    """Weights that replace those in the folder, under the same names."""
    integers: Path | None = None
    """Folder with the integers of some weights, which are not quantized then."""
    widths: Widths | None = None
    """Widths of some weights, in place of that of the precision."""
    save: Callable[..., None] | None = None
    """What takes the finished graph in place of ``onnx_ir.save``."""

    def run(self) -> None:
        """Write the model folder."""
        import onnx_ir
        from onnxruntime_genai.models import builder

        from pipeline.builder.embedding import mended_embedding
        from pipeline.builder.gemma2 import windows_in_every_second_layer
        from pipeline.builder.gemma_scale import exact_scale_of_embeddings
        from pipeline.builder.matrices import replaced
        from pipeline.builder.norm_offset import offset_of_norms_in_fp32
        from pipeline.builder.olmo import norms_that_subtract_the_mean
        from pipeline.builder.output_layer import output_layer_as_asked
        from pipeline.builder.readable_config import ReadableConfig
        from pipeline.builder.smollm3 import layers_without_positions
        from pipeline.builder.widths import chosen_widths
        from pipeline.weights.arithmetic import SameBits

        precision, provider = self.params.precision, self.params.execution_provider
        pairs = [f"{name}={value}" for name, value in self.options.items()]
        with tempfile.TemporaryDirectory() as cache:
            source = (
                None,
                str(self.checkpoint.folder),
                str(self.out_dir),
                precision,
                provider,
                cache,
            )
            parse = builder.parse_extra_options
            until_0_13 = "kv_items" in inspect.signature(parse).parameters
            # Since 0.16 it is the options' parser that reads the config.
            with (
                SameBits(),
                replaced(builder, "AutoConfig", ReadableConfig),
                layers_without_positions(),
                windows_in_every_second_layer(),
                exact_scale_of_embeddings(),
                offset_of_norms_in_fp32(),
                norms_that_subtract_the_mean(),
                output_layer_as_asked(),
                mended_embedding(self.params.embedding_bits, self.params.block_size),
                chosen_widths(self.widths, self.checkpoint),
                replaced(onnx_ir, "save", self.save or onnx_ir.save),
            ):
                parsed = parse(pairs, provider) if until_0_13 else parse(*source, pairs)
                builder.create_model(*source, **parsed)

    def clear(self) -> None:
        """Remove the files of an earlier run."""
        for path in self.out_dir.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def create(call: BuilderCall, report: Reporter) -> WeightsMode:
    """Run the builder. Returns whether the weights were processed one by one, or why not.

    Raises :class:`StepError`, also where it has integers and the weights cannot be processed one by
    one; and :class:`NotStreamable` if it has weights of its own and they cannot.
    """
    from pipeline.builder.matrices import NotStreamable

    try:
        _one_by_one(call, report)
    except NotStreamable as error:
        if call.weights is not None:
            raise
        if call.integers is not None:
            raise StepError(
                f"the builder cannot take the integers that were chosen for this model: {error}",
                "remove the pass that rounds, so that the builder quantizes by itself",
                "bad_input",
            ) from error
        mode = WeightsMode(str(error))
        report.warn(mode.warning)
        call.clear()
        _at_once(call, report)
        return mode
    return ONE_BY_ONE


def _one_by_one(call: BuilderCall, report: Reporter) -> None:
    from pipeline.builder.coded import coded_weights
    from pipeline.builder.matrices import NotStreamable
    from pipeline.builder.streaming import streamed
    from pipeline.weights.deferred import NotDeferrable
    from pipeline.weights.stored import stored_tensors

    checkpoint = call.checkpoint
    if call.params.trust_remote_code:
        raise NotStreamable("trust_remote_code: the model's own code loads them")
    if checkpoint.config.get("quantization_config"):
        raise NotStreamable("they are quantized already")
    tensors = call.weights or stored_tensors(checkpoint.folder)
    with ExitStack() as entered:
        coded = None
        if call.integers is not None:
            coded = entered.enter_context(coded_weights(call.integers, tensors))
        entered.enter_context(reported_output(checkpoint, report, quantized=False))
        entered.enter_context(streamed(tensors, functools.partial(_matrices_done, report), coded))
        try:
            call.run()
        except Exception as error:
            for cause in causes(error):
                if isinstance(cause, (NotDeferrable, NotStreamable)):
                    raise NotStreamable(_message(cause)) from error
                if isinstance(cause, StepError):
                    raise cause from error
            raise _failure(call, error) from error


def _at_once(call: BuilderCall, report: Reporter) -> None:
    with reported_output(call.checkpoint, report, quantized=True):
        try:
            call.run()
        except Exception as error:
            raise _failure(call, error) from error


def _matrices_done(report: Reporter, done: int, total: int) -> None:
    report.progress(done, total, "matrices")


def _failure(call: BuilderCall, error: Exception) -> Exception:
    """Return the exception to raise for the builder's ``error``."""
    if isinstance(error, OSError | MemoryError | StepError):
        return error
    hint = _odd_blocks(call.checkpoint, call.params)
    # It raises this for a model that it does not know, or a part of one.
    mendable = bool(hint) or isinstance(error, NotImplementedError)
    return StepError(
        f"the model builder failed: {_message(error)}",
        hint,
        "bad_input" if mendable else "error",
    )


def _message(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[-1]


def _odd_blocks(checkpoint: Checkpoint, params: ModelBuilderParams) -> str:
    """Return a hint if k_quant, or rtn with zero points, crashes on a matrix ("cannot reshape
    array"): it packs two zero points into a byte even across the end of a row of blocks."""
    if not params.has_zero_points or params.rounding == "default":
        return ""
    odd = [
        f"{name} ({shape[1]} inputs)"
        for name, shape in checkpoint.linear.items()
        if -(-shape[1] // params.block_size) % 2
    ]
    if not odd:
        return ""
    return (
        f"with all weights at once, {params.algorithm} needs an even number of blocks of "
        f"{params.block_size} per row, which {odd[0]} has not; use another block_size, or "
        "algorithm default"
    )
