"""Compares the widths of a graph's matrices with those that a pass chose."""

from __future__ import annotations

from pipeline.onnx.checkpoint import Checkpoint
from pipeline.onnx.dequantize import matrices
from pipeline.onnx.graph import OnnxModel
from pipeline.onnx.origins import Origins
from pipeline.weights.widths import Widths


def width_problems(model: OnnxModel, checkpoint: Checkpoint, chosen: Widths) -> list[str]:
    """Return which matrices of ``model`` have another width than the weights that they are made of
    should have, and which weights no matrix is made of."""
    origins, seen = Origins(checkpoint), set()
    problems = []
    for matrix in matrices(model):
        for origin in origins.of(matrix.name, matrix.shape[0]):
            wanted = chosen.bits.get(origin.tensor)
            seen.add(origin.tensor)
            if wanted not in (None, matrix.bits):
                problems.append(f"{origin.layer} has {matrix.bits} bits, not {wanted}")
    missing = sorted(chosen.bits.keys() - seen)
    return [*problems, *(f"no matrix of the graph is made of {name}" for name in missing)]
