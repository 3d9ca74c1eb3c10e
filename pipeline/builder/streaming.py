"""Makes the model builder write its weights one by one, instead of holding all of them in memory.

The builder still decides everything: the graph, the names, the order, the configuration. Two
things are replaced while it runs. The model that it reads consists of deferred tensors. And its
graph is quantized with one column per matrix; then the widths are restored, and each matrix is
quantized by the same quantizer when it is written (:mod:`pipeline.builder.matrices`). The files
have the same bytes.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
import torch

from pipeline.builder.coded import CodedWeights
from pipeline.builder.matrices import (
    LazyMatrices,
    NotStreamable,
    Progress,
    WhenWritten,
    quantizing_method,
    replaced,
)
from pipeline.weights.deferred import Deferred

_IN_FLIGHT = 256 << 20
"""Limit of the bytes of finished tensors that wait to be written."""
_PIECES = 3
"""Largest number of tensors of a quantized matrix: weights, scales, zero points."""

_CONVERSION = "automatic conversion of the weights"
"""In the ``RuntimeError`` that transformers raises, and nothing else, for whatever was raised while
it split or joined weights (its ``utils/loading_report.py``)."""

_save = ir.save


@contextlib.contextmanager
def streamed(
    tensors: Mapping[str, Deferred], progress: Progress, coded: CodedWeights | None = None
) -> Iterator[None]:
    """While entered, the builder takes a model's weights from ``tensors`` and writes each when it
    is computed, as many at a time as PyTorch has threads; ``progress`` is told how many of how many
    matrices are. Matrices with integers in ``coded`` are not quantized, but get those.

    The builder raises :class:`NotStreamable` where that would give other bytes, and
    :class:`~pipeline.weights.deferred.NotDeferrable` where it needs the weights before.
    """
    import onnxruntime_genai.models.builder  # noqa: F401 - puts its own modules on the path

    base = sys.modules["builders.base"]
    works = LazyMatrices(threading.Semaphore(torch.get_num_threads()), progress, coded)
    quantizes = quantizing_method(base)
    with (
        replaced(base, "AutoModelForCausalLM", _DeferredModel(tensors)),
        replaced(base.Model, "save_model", _deferring(base.Model.save_model)),
        replaced(
            base.Model, quantizes, works.replacement_for(getattr(base.Model, quantizes), base)
        ),
        replaced(ir, "save", _save_side_by_side),
    ):
        yield


@dataclass(frozen=True)
class _DeferredModel:
    """Replaces ``AutoModelForCausalLM`` in the builder."""

    tensors: Mapping[str, Deferred]

    def from_pretrained(self, folder: str, **options: Any) -> Any:
        """Return the model of ``folder`` with deferred tensors."""
        from transformers import AutoConfig, AutoModelForCausalLM

        options.pop("cache_dir", None)
        config = AutoConfig.from_pretrained(folder, **options)
        with torch.device("meta"):
            kind = type(AutoModelForCausalLM.from_config(config))
        try:
            # Transformers renames and ties them like tensors that it reads from files.
            return kind.from_pretrained(None, config=config, state_dict=dict(self.tensors))
        except RuntimeError as error:
            if _CONVERSION not in str(error):
                raise
            raise NotStreamable("transformers needs their numbers to convert them") from error


def _save_side_by_side(model: ir.Model, path: str, **options: Any) -> None:
    """Write ``model`` as ``onnx_ir.save`` does, several tensors at a time."""
    _save(model, path, max_workers=workers(), max_in_flight_bytes=_IN_FLIGHT, **options)


def workers() -> int:
    """Return how many tensors are computed at a time: pieces of one matrix wait for each other."""
    return _PIECES * int(torch.get_num_threads())


def _deferring(save_model: Callable[..., None]) -> Callable[..., None]:
    def save(builder: Any, *arguments: Any) -> None:
        for value in builder.model.graph.initializers.values():
            value.const_value = WhenWritten(value.const_value)
        save_model(builder, *arguments)

    return save
