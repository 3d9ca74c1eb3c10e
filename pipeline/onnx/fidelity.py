"""Compares each matrix of a graph with the checkpoint's: they may differ by rounding only.

One layer with a wrong scale among many hardly changes the outputs of a model, but its matrix shows
it.
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
    """The difference between a matrix ``G`` of the graph, dequantized, and the checkpoint's ``C``.

    If ``C`` is zero, both scales are 1, and ``error`` is 0 if ``G`` is zero too, else infinite.
    """

    layer: str
    tensor: str
    """Name of ``C`` in the checkpoint."""
    bits: int
    """Width of the graph's weights."""
    scale: float
    """``<G, C> / <C, C>``, the slope of a linear regression through the origin: 1 except for
    rounding, 2 if ``G`` is twice as large, 0 if the matrices are unrelated."""
    inverse_scale: float
    """``<G, G> / <G, C>``, the inverse of the slope the other way round; infinite if they are
    unrelated. Whichever of the matrices has the errors, the scale is one of both, and if both have
    some, it is between them (Frisch, Statistical Confluence Analysis, 1934)."""
    error: float
    """``|G - C| / |C|``, Frobenius norms."""


@dataclass(frozen=True)
class FidelityResult:
    """The result for all matrices of a graph."""

    layers: tuple[Fidelity, ...]
    unknown: tuple[str, ...]
    """Names of matrices in the graph whose origin in the checkpoint is unknown."""


def compare(
    model: OnnxModel, checkpoint: Path, progress: Callable[[int, int], None] | None = None
) -> FidelityResult:
    """Compare every matrix of ``model`` with the tensors in the ``checkpoint`` folder.

    ``progress`` is called with the number of matrices done and the number of all. Raises
    ``ValueError`` or ``OSError`` if data of the graph is missing or broken.
    """
    layers: list[Fidelity] = []
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
                layers += (_fidelity(matrix, origin, tensors) for origin in rows)
            if progress is not None:
                progress(done, len(every))
    return FidelityResult(tuple(layers), tuple(unknown))


def _fidelity(matrix: Matrix, origin: Origin, tensors: _Tensors) -> Fidelity:
    import numpy as np

    product = norm = ours_norm = difference = 0.0
    for first, count in _chunks(origin.count, matrix.shape[1]):
        ours = matrix.rows(origin.first + first, count)
        theirs = tensors.rows(origin.tensor, origin.tensor_first + first, count)
        product += float(np.vdot(ours, theirs))
        norm += float(np.vdot(theirs, theirs))
        ours_norm += float(np.vdot(ours, ours))
        ours = ours - theirs
        difference += float(np.vdot(ours, ours))
    names = (origin.layer, origin.tensor)
    if not norm:
        error = 0.0 if not difference else float("inf")
        return Fidelity(*names, matrix.bits, 1.0, 1.0, error)
    inverse = ours_norm / product if product else float("inf")
    return Fidelity(*names, matrix.bits, product / norm, inverse, (difference / norm) ** 0.5)


def _chunks(rows: int, columns: int) -> Iterator[tuple[int, int]]:
    step = max(_CHUNK // max(columns, 1), 1)
    for first in range(0, rows, step):
        yield first, min(step, rows - first)


class _Tensors:
    """Rows of a checkpoint's tensors, read from the files on demand."""

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
