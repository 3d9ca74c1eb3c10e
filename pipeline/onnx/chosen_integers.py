"""Compares the integers, scales and zero points in a graph with those that a pass chose.

Both are read by themselves: the graph's as :mod:`pipeline.onnx.dequantize` reads any, the chosen
ones from their files. What they stand for must be the same numbers, to the last bit.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.onnx.checkpoint import Checkpoint
from pipeline.onnx.dequantize import Matrix, matrices
from pipeline.onnx.graph import OnnxModel
from pipeline.onnx.origins import Origin, Origins
from pipeline.weights.files import tensors_of
from pipeline.weights.integers import IntegerCheckpoint


def chosen_names(integers: Path) -> frozenset[str]:
    """Return the names of the weights in the folder ``integers`` that are integers.

    Raises ``ValueError`` or ``OSError`` if it cannot be read.
    """
    with IntegerCheckpoint(Checkpoint(integers).config, tensors_of(integers)) as chosen:
        return frozenset(chosen.names)


def integer_differences(
    model: OnnxModel, checkpoint: Path, integers: Path
) -> tuple[int, list[str]]:
    """Return how many weights of ``checkpoint`` have ``integers``, and where the matrices of
    ``model`` are not made of them.

    Raises ``ValueError`` or ``OSError`` if data of the graph is missing or broken.
    """
    origins = Origins(Checkpoint(checkpoint))
    differences: list[str] = []
    rows_seen: dict[str, int] = {}
    with IntegerCheckpoint(Checkpoint(integers).config, tensors_of(integers)) as chosen:
        for matrix in matrices(model):
            for origin in origins.of(matrix.name, matrix.shape[0]):
                if origin.tensor in chosen.names:
                    rows_seen[origin.tensor] = rows_seen.get(origin.tensor, 0) + origin.count
                    differences += _difference(matrix, origin, chosen)
        for name in sorted(chosen.names):
            rows = chosen.rows(name)
            if rows_seen.get(name, 0) != rows:
                differences.append(f"{name}: the graph has {rows_seen.get(name, 0)} of {rows} rows")
        return len(chosen.names), differences


def _difference(matrix: Matrix, origin: Origin, chosen: IntegerCheckpoint) -> list[str]:
    import numpy as np

    rows = slice(origin.tensor_first, origin.tensor_first + origin.count)
    wanted = chosen.read(origin.tensor).weights[rows]
    found = matrix.rows(origin.first, origin.count)
    if found.shape != wanted.shape:
        return [f"{origin.layer} has another shape"]
    wrong = int(np.count_nonzero(found.view(np.uint32) != wanted.view(np.uint32)))
    return [f"{origin.layer}: {wrong} of {wanted.size} weights are others"] if wrong else []
