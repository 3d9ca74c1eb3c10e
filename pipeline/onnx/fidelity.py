"""Are the matrices in the graph those of the checkpoint, but for rounding? One after the other.

A model's outputs hardly move when one layer of many is scaled wrong; its matrix does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.onnx.checkpoint import Checkpoint
from pipeline.onnx.dequantize import Matrix, matrices
from pipeline.onnx.graph import OnnxModel
from pipeline.onnx.origins import Origin, Origins
from pipeline.weights.files import weight_files

_CHUNK = 1 << 22
"""Weights that are compared at a time."""


@dataclass(frozen=True)
class Fidelity:
    """How a matrix of the graph compares with the checkpoint's."""

    layer: str
    bits: int
    """Width of the graph's weights."""
    scale: float
    """``<graph, checkpoint> / <checkpoint, checkpoint>``, the coefficient of a regression through
    the origin: 1 but for rounding, 2 for weights that are twice as large, 0 for unrelated ones."""
    error: float
    """``|graph - checkpoint| / |checkpoint|``, Frobenius norms."""


@dataclass(frozen=True)
class Compared:
    """All matrices of a graph."""

    layers: tuple[Fidelity, ...]
    unknown: tuple[str, ...]
    """Names of matrices in the graph that nothing of the checkpoint could be found for."""


def compare(
    model: OnnxModel, checkpoint: Path, progress: Callable[[int, int], None] | None = None
) -> Compared:
    """Hold every matrix of ``model`` against the ``checkpoint`` folder.

    Raises ``ValueError`` or ``OSError`` where the graph's data is not whole.
    """
    found: list[Fidelity] = []
    unknown: list[str] = []
    every = matrices(model)
    origins = Origins(Checkpoint(checkpoint))
    with _Tensors(checkpoint) as tensors:
        for done, matrix in enumerate(every, start=1):
            rows = origins.of(matrix.name, matrix.shape[0])
            fits = all(tensors.columns(origin.tensor) == matrix.shape[1] for origin in rows)
            if not rows or not fits:
                unknown.append(matrix.name)
            else:
                found += (_fidelity(matrix, origin, tensors) for origin in rows)
            if progress is not None:
                progress(done, len(every))
    return Compared(tuple(found), tuple(unknown))


def _fidelity(matrix: Matrix, origin: Origin, tensors: _Tensors) -> Fidelity:
    import numpy as np

    product = norm = difference = 0.0
    for first, count in _chunks(origin.count, matrix.shape[1]):
        ours = matrix.rows(origin.first + first, count)
        theirs = tensors.rows(origin.tensor, origin.tensor_first + first, count)
        product += float(np.vdot(ours, theirs))
        norm += float(np.vdot(theirs, theirs))
        ours = ours - theirs
        difference += float(np.vdot(ours, ours))
    if not norm:
        return Fidelity(origin.layer, matrix.bits, 1.0, 0.0 if not difference else float("inf"))
    return Fidelity(origin.layer, matrix.bits, product / norm, (difference / norm) ** 0.5)


def _chunks(rows: int, columns: int) -> Iterator[tuple[int, int]]:
    step = max(_CHUNK // max(columns, 1), 1)
    for first in range(0, rows, step):
        yield first, min(step, rows - first)


class _Tensors:
    """Rows of a checkpoint's tensors, read when they are asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open = ExitStack()
        self._slices: dict[str, Any] = {}

    def __enter__(self) -> _Tensors:
        from safetensors import safe_open

        for file in weight_files(self._folder):
            # NumPy has no bfloat16, so PyTorch reads them.
            opened = self._open.enter_context(safe_open(file, framework="pt"))
            self._slices |= {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
        return self

    def __exit__(self, *_: object) -> None:
        self._slices.clear()
        self._open.close()

    def columns(self, name: str) -> int:
        return int(self._slices[name].get_shape()[1])

    def rows(self, name: str, first: int, count: int) -> Any:
        return self._slices[name][first : first + count].float().numpy()
