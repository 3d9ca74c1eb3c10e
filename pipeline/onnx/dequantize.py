"""Dequantizes the matrices of a graph's linear layers, a few rows at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from pipeline.onnx.graph import OnnxModel, attributes, external, is_matrix
from pipeline.onnx.quantized import LOOK_UP, PACKED, bits_of, dequantized


@dataclass(frozen=True)
class Matrix:
    """The stored matrix of one linear layer, [outputs, inputs], read from the file on demand."""

    model: OnnxModel
    node: Any
    source: Any = None
    """The ``DequantizeLinear`` that has its numbers, if one does."""

    @property
    def name(self) -> str:
        """Return the name of the tensor that holds the weights."""
        return str(self.node.input[1] if self.source is None else self.source.input[0])

    @property
    def shape(self) -> tuple[int, int]:
        """Return the numbers of outputs and of inputs."""
        if self.node.op_type == PACKED:
            facts = attributes(self.node)
            return int(facts["N"]), int(facts["K"])
        columns, rows = self.model.initializers[self.name].dims
        return int(rows), int(columns)

    @property
    def bits(self) -> int:
        """Return the width of its weights."""
        if self.node.op_type == PACKED:
            return int(attributes(self.node).get("bits", 4))
        return bits_of(self.model.initializers[self.name])

    def rows(self, first: int, count: int) -> Any:
        """Return ``count`` rows as float32, dequantized.

        Raises ``ValueError`` or ``OSError`` if the bytes are missing.
        """
        import numpy as np

        part = slice(first, first + count)
        if self.source is not None:
            return self._from_blocks(part)
        if self.node.op_type != PACKED:
            return np.asarray(self.model.values(self.name)[:, part], np.float32).T
        return self._dequantized(part)

    def _dequantized(self, part: slice) -> Any:
        """Return ``(q - zero point) * scale``, block by block.

        The format is that of ``MatMulNBits`` (ContribOperators.md of onnxruntime): a byte holds its
        first value in the low bits, and without zero points, zero is ``2 ** (bits - 1)``.
        """
        import numpy as np

        facts = attributes(self.node)
        bits, size = int(facts.get("bits", 4)), int(facts["block_size"])
        rows, columns = self.shape
        blocks = -(-columns // size)
        packed = self.model.values(self.name).reshape(rows, -1)[part]
        scales = self.model.values(self.node.input[2]).reshape(rows, blocks)[part]
        values = _unpacked(packed, bits).reshape(-1, blocks, size).astype(np.float32)
        zero: Any = float(1 << (bits - 1))
        if len(self.node.input) > 3 and self.node.input[3]:
            stored = self.model.values(self.node.input[3]).reshape(rows, -1)[part]
            if stored.dtype == np.uint8:
                stored = _unpacked(stored, bits)[:, :blocks]
            zero = stored.astype(np.float32)[..., None]
        values = (values - zero) * np.asarray(scales, np.float32)[..., None]
        return values.reshape(len(values), -1)[:, :columns]

    def _from_blocks(self, part: slice) -> Any:
        """Return ``(q - zero point) * scale`` of columns of blocks, as ``DequantizeLinear`` has it:
        https://onnx.ai/onnx/operators/onnx__DequantizeLinear.html"""
        import numpy as np

        facts = attributes(self.source)
        numbers, scales, *zero = (self._stored(name) for name in filter(None, self.source.input))
        size = int(facts.get("block_size", 0))
        if int(facts.get("axis", 1)) != 0 or not size:
            raise ValueError(f"{self.source.name} has no blocks of columns")
        wide = [
            np.repeat(np.asarray(table[:, part], np.float32), size, axis=0)[: len(numbers)]
            for table in (scales, *zero)
        ]
        values = np.asarray(numbers[:, part], np.float32) - (wide[1] if zero else 0)
        return (values * wide[0]).T

    def _stored(self, name: str) -> Any:
        """Return a tensor whose numbers may have four bits, the first of a byte in its low ones."""
        import numpy as np
        import onnx

        tensor = self.model.initializers[name]
        if bits_of(tensor) != 4 or external(tensor) is None:
            return self.model.values(name)
        values = _unpacked(self.model.bytes_of(name)[None], 4).reshape(-1)
        values = values[: math.prod(tensor.dims)].reshape(tuple(tensor.dims))
        if tensor.data_type == onnx.TensorProto.INT4:
            return np.where(values > 7, values.astype(np.int8) - 16, values)
        return values


def matrices(model: OnnxModel) -> list[Matrix]:
    """Return the matrix of every linear layer of ``model``."""
    stored, unpacked = model.initializers, dequantized(model)
    found = []
    for node in model.of_type(PACKED, "MatMul"):
        matrix = Matrix(model, node, unpacked.get(node.input[1]))
        known = matrix.name in stored and is_matrix(stored[matrix.name])
        if node.op_type == PACKED or known:
            found.append(matrix)
    return found


def embedding(model: OnnxModel) -> Matrix | None:
    """Return the quantized rows that ``model`` looks up for its tokens; ``None`` for floats.

    They are stored like those of a linear layer, and often are those of the output layer.
    """
    import onnx

    look_up = next(iter(model.of_type(LOOK_UP)), None)
    if look_up is None:
        return None
    name = look_up.input[0]
    shaped = [node.input[0] for node in model.of_type("Reshape") if node.output[0] == name]
    packed = shaped[0] if shaped else name
    facts = attributes(look_up)
    bits, size = int(facts.get("bits", 4)), int(facts["block_size"])
    stored = model.initializers[packed].dims
    rows, columns = int(stored[0]), math.prod(stored[1:]) * 8 // bits
    node = onnx.helper.make_node(
        PACKED, ["", packed, *look_up.input[2:]], [], N=rows, K=columns, bits=bits, block_size=size
    )
    return Matrix(model, node)


def _unpacked(packed: Any, bits: int) -> Any:
    """Return the unsigned values, of ``bits`` bits each, that are packed into each row's bytes."""
    import numpy as np

    if bits == 8:
        return packed
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    values = (np.asarray(packed)[..., None] >> shifts) & np.uint8((1 << bits) - 1)
    return values.reshape(len(packed), -1)
