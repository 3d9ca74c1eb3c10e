"""Writes integers that a pass has chosen, in place of those that the builder's quantizer would.

The builder splits, joins and turns round the weights that it reads. What it does with them is
recorded (:mod:`pipeline.weights.deferred`), and is done here with the integers, the scales and the
zero points, each spread over the shape of the weights. So no name of a matrix has to be known.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.builder.blockwise import packed_values, packed_zeros
from pipeline.contract.errors import StepError
from pipeline.onnx.checkpoint import Checkpoint
from pipeline.weights.deferred import Deferred
from pipeline.weights.files import tensors_of
from pipeline.weights.integers import IntegerCheckpoint, Integers

_Part = Callable[[Integers], Any]
_NAMED = 3
"""Matrices that a message names."""


@contextmanager
def coded_weights(folder: Path, tensors: Mapping[str, Deferred]) -> Iterator[CodedWeights]:
    """Yield the integers in ``folder`` of the weights ``tensors``, by their names.

    Raises :class:`StepError` after the block where some were not asked for: the builder left
    their matrices out, or in floats.
    """
    with IntegerCheckpoint(Checkpoint(folder).config, tensors_of(folder)) as checkpoint:
        lacking = sorted(checkpoint.names - tensors.keys())
        if lacking:
            raise StepError(f"the checkpoint has no {lacking[0]}, and there are integers for it")
        coded = CodedWeights(
            checkpoint, {id(tensors[name]): name for name in checkpoint.names}, tensors
        )
        yield coded
        unused = sorted(checkpoint.names - coded.used)
        if unused:
            more = f" and {len(unused) - _NAMED} more" if len(unused) > _NAMED else ""
            raise StepError(
                f"the builder quantizes no matrix made of {', '.join(unused[:_NAMED])}{more}",
                "leave them out of nodes_to_exclude of the model builder",
                "bad_input",
            )


@dataclass
class CodedWeights:
    """Integers of some of a checkpoint's weights."""

    checkpoint: IntegerCheckpoint
    names: Mapping[int, str]
    """Name of a weight by the ``id`` of its tensor."""
    tensors: Mapping[str, Deferred]
    """The weights themselves, which are kept so that their ``id`` stays theirs."""
    used: set[str] = field(default_factory=set)
    _counting: threading.Lock = field(default_factory=threading.Lock)

    def pieces(
        self, weight: Deferred, bits: int, block_size: int, zero_points: bool
    ) -> tuple[Any, ...] | None:
        """Return packed integers, scales and, with ``zero_points``, packed zero points of a weight
        [inputs, outputs], as ``MatMulNBits`` has them; ``None`` if it has no integers.

        Raises :class:`StepError` where the matrix is to be quantized in another way.
        """
        found = {id(origin): self.names.get(id(origin)) for origin in weight.origins()}
        names = sorted(name for name in found.values() if name)
        if not names:
            return None
        what = ", ".join(names)
        if len(names) < len(found):
            raise StepError(f"the builder joins {what} with weights that have no integers")
        if (self.checkpoint.bits, self.checkpoint.block_size) != (bits, block_size):
            raise StepError(
                f"{what} has {self.checkpoint.bits}-bit integers in blocks of "
                f"{self.checkpoint.block_size}, and the builder makes {bits} bits in blocks of "
                f"{block_size}",
                "give both passes the same precision and block_size",
                "bad_input",
            )
        integers = {at: self.checkpoint.read(name) for at, name in found.items() if name}

        def through(part: _Part) -> Any:
            """Return ``part`` of the integers after what the builder does with weights."""
            values = {
                at: torch.from_numpy(np.asarray(part(matrix), np.float32))
                for at, matrix in integers.items()
            }
            return weight.computed_from(values).T

        moved = through(lambda matrix: matrix.weights)
        values, scales, zeros = (
            through(part).float().numpy()
            for part in (
                lambda matrix: matrix.values,
                lambda matrix: matrix.spread(matrix.scales),
                lambda matrix: matrix.spread(matrix.zeros),
            )
        )
        if not torch.equal(moved, torch.from_numpy((values - zeros) * scales).to(moved.dtype)):
            raise StepError(f"the builder changes the numbers of {what}, and not only their places")
        outputs, inputs = values.shape
        blocks = inputs // block_size
        whole = values.astype(np.uint8).reshape(outputs * blocks, block_size, 1)
        packed = packed_values(whole, bits).reshape(outputs, blocks, -1)
        scale = np.ascontiguousarray(scales[:, ::block_size])
        zero = np.ascontiguousarray(zeros[:, ::block_size]).astype(np.uint8)
        if not zero_points and (zero != 1 << (bits - 1)).any():
            raise StepError(
                f"{what} has zero points, and the builder stores none",
                "set symmetric = true in the pass that rounds, or symmetric = false in "
                "model_builder",
                "bad_input",
            )
        with self._counting:
            self.used.update(names)
        return (packed, scale, packed_zeros(zero, bits)) if zero_points else (packed, scale)
