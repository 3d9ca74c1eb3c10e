"""Turns the output and log of the model builder into progress and warnings."""

from __future__ import annotations

import contextlib
import io
import logging
import re
from collections.abc import Iterator

from pipeline.contract.step import Reporter
from pipeline.onnx.checkpoint import Checkpoint

_QUANTIZER_LOG = "onnxruntime.quantization.matmul_nbits_quantizer"


@contextlib.contextmanager
def reported_output(checkpoint: Checkpoint, report: Reporter, quantized: bool) -> Iterator[None]:
    """Turn the builder's output into progress and warnings while the block runs; the quantizer's
    log only if ``quantized``."""
    layers = int(checkpoint.config.get("num_hidden_layers", 0))
    log = logging.getLogger(_QUANTIZER_LOG)
    counter = _QuantizerProgress(len(checkpoint.linear), report)
    if quantized:
        log.addHandler(counter)
    try:
        with contextlib.redirect_stdout(_BuilderOutput(layers, report)):
            yield
    finally:
        log.removeHandler(counter)


class _BuilderOutput(io.StringIO):
    """Standard output of the builder: reported as progress or warnings, and discarded."""

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
    """Counts the matrices that the quantizer logs as done."""

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
