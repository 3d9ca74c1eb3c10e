"""Checks that linear layers are quantized, packed correctly, finite and complete."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.onnx.graph import OnnxModel, attributes, is_matrix

PACKED = "MatMulNBits"
"""The operator of a linear layer whose matrix is quantized."""

LOOK_UP = "GatherBlockQuantized"
"""The operator that looks up quantized rows (ContribOperators.md of onnxruntime)."""


@dataclass(frozen=True)
class Linear:
    """One linear layer of the graph. ``bits`` is 16 or 32 if it is not quantized."""

    node: str
    weight: str
    weights: int
    bits: int


@dataclass
class Share:
    """The share of the linear layers that is quantized, counted in weights."""

    total: int = 0
    quantized: int = 0
    left: list[str] = field(default_factory=list)
    """Names of layers that should be quantized and are not."""

    @property
    def value(self) -> float:
        """Return the share; 0 if there are no weights."""
        return self.quantized / self.total if self.total else 0.0


def linear_layers(model: OnnxModel) -> list[Linear]:
    """Return every product of hidden states with a stored matrix.

    ``MatMulNBits`` holds its matrix packed; ``MatMul`` and ``Gemm`` have it as an initializer, or
    from a ``DequantizeLinear`` that has one.
    """
    layers = []
    unpacked = dequantized(model)
    for node in model.of_type(PACKED, "MatMul", "Gemm"):
        if node.op_type == PACKED:
            facts = attributes(node)
            count = int(facts["N"]) * int(facts["K"])
            layers.append(Linear(node.name, node.input[1], count, int(facts.get("bits", 4))))
            continue
        source = unpacked.get(node.input[1])
        tensor = model.initializers.get(source.input[0] if source else node.input[1])
        if tensor is not None and is_matrix(tensor):
            bits = bits_of(tensor)
            layers.append(Linear(node.name, tensor.name, math.prod(tensor.dims), bits))
    return layers


def dequantized(model: OnnxModel) -> Mapping[str, Any]:
    """Return the nodes that make floats of stored integers (QDQ), by the name of what they make."""
    return {
        node.output[0]: node
        for node in model.of_type("DequantizeLinear")
        if node.input[0] in model.initializers
    }


def bits_of(tensor: Any) -> int:
    """Return the width of the numbers of a matrix that is stored as such."""
    import onnx

    kinds = onnx.TensorProto
    widths = {kinds.FLOAT: 32, kinds.INT8: 8, kinds.UINT8: 8, kinds.INT4: 4, kinds.UINT4: 4}
    return widths.get(tensor.data_type, 16)


def quantized_share(
    layers: list[Linear], bits: frozenset[int], excluded: frozenset[str] = frozenset()
) -> Share:
    """Return the share of weights that are stored in one of the widths ``bits``.

    The nodes ``excluded`` are meant to stay in floating point and do not count.
    """
    share = Share()
    for layer in layers:
        if layer.node in excluded:
            continue
        share.total += layer.weights
        if layer.bits in bits:
            share.quantized += layer.weights
        else:
            share.left.append(f"{layer.node} has {layer.bits} bits")
    return share


def packing(model: OnnxModel) -> list[str]:
    """Check that packed matrices and scales have the shapes that follow from N, K, bits and block
    size; return the problems.

    The format is that of the operator's documentation (ContribOperators.md of onnxruntime): matrix
    ``[N, blocks, block_size * bits / 8]``, scales ``[N, blocks]`` or flat.
    """
    problems = []
    for node in model.of_type(PACKED):
        facts = attributes(node)
        missing = [name for name in ("N", "K", "block_size") if name not in facts]
        if missing or len(node.input) < 3:
            problems.append(f"{node.name} lacks {', '.join(missing) or 'its scales'}")
            continue
        rows, bits, size = int(facts["N"]), int(facts.get("bits", 4)), int(facts["block_size"])
        blocks = -(-int(facts["K"]) // size)
        expected = {
            1: [(rows, blocks, size * bits // 8), (rows, blocks * size * bits // 8)],
            2: [(rows, blocks), (rows * blocks,)],
        }
        zero = -(-blocks * bits // 8)
        expected[3] = [(rows, zero), (rows * zero,), (rows, blocks), (rows * blocks,)]
        for index, shapes in expected.items():
            name = node.input[index] if index < len(node.input) else ""
            if not name:
                continue
            tensor = model.initializers.get(name)
            if tensor is None:
                problems.append(f"{node.name}: {name} is not stored in the model")
            elif tuple(tensor.dims) not in shapes:
                problems.append(f"{name} has shape {list(tensor.dims)}, not {list(shapes[0])}")
    return [*problems, *_blocks(model)]


def _blocks(model: OnnxModel) -> Iterator[str]:
    """Yield where a ``DequantizeLinear`` has not one scale for each block of a column."""
    for node in dequantized(model).values():
        facts, dims = attributes(node), list(model.initializers[node.input[0]].dims)
        axis, size = int(facts.get("axis", 1)), int(facts.get("block_size", 0))
        if not size or not -len(dims) <= axis < len(dims):
            continue  # one scale for a whole column, or for all
        dims[axis] = -(-dims[axis] // size)
        for name in filter(None, node.input[1:3]):
            tensor = model.initializers.get(name)
            if tensor is None:
                yield f"{node.name}: {name} is not stored in the model"
            elif list(tensor.dims) != dims:
                yield f"{name} has shape {list(tensor.dims)}, not {dims}"


def value_problems(model: OnnxModel) -> list[str]:
    """Check that all floating-point weights and scales are finite, and that no tensor of scales is
    all zero; return the problems."""
    import numpy as np

    scales = {node.input[2] for node in model.of_type(PACKED) if len(node.input) > 2}
    scales |= {node.input[1] for node in dequantized(model).values()}
    problems = []
    for name, tensor in model.initializers.items():
        if not _is_float(tensor):
            continue
        try:
            values = model.values(name)
        except (OSError, ValueError) as error:
            problems.append(f"{name} cannot be read: {error}")
            continue
        wide = values if values.dtype.kind == "f" else values.astype(np.float32)
        wrong = int(values.size - np.count_nonzero(np.isfinite(wide)))
        if wrong:
            problems.append(f"{name}: {wrong} of {values.size} values are NaN or infinite")
        elif name in scales and not np.any(wide):
            problems.append(f"{name}: all scales are zero")
    return problems


def weight_count_problems(layers: list[Linear], expected: int) -> list[str]:
    """Check that the linear layers have as many weights as those of the checkpoint (``expected``);
    return the problems."""
    count = sum(layer.weights for layer in layers)
    if count == expected:
        return []
    return [f"the linear layers hold {count} weights, those of the checkpoint {expected}"]


def _is_float(tensor: Any) -> bool:
    import onnx

    kinds = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
    return tensor.data_type in kinds
