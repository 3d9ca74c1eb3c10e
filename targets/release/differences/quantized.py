"""Quantized matrices of an ONNX graph, whose values are packed into bytes.

The layouts are those of the operators MatMulNBits and GatherBlockQuantized
(https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md): values of one row
follow each other, the first one in the lowest bits of a byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from targets.release.differences.tensors import Tensor

_PACKED = {2: "uint2", 4: "uint4", 8: "uint8"}


@dataclass(frozen=True)
class Role:
    """What a tensor is to the node that reads it."""

    what: str
    node: str
    bits: int = 0
    """Of one quantized value; 0 where the tensor is not quantized itself."""
    rows: int = 0
    """0 where the tensor's own shape tells its rows."""

    def __str__(self) -> str:
        return f"{self.what} of {self.node}"

    @property
    def steps(self) -> int:
        """The largest difference that two quantized values can have."""
        return (1 << self.bits) - 1 if self.bits else 0

    def unpacked(self, tensor: Tensor) -> Tensor:
        """Return the tensor with one element for each quantized value."""
        if tensor.dtype != "uint8" or self.bits not in _PACKED or not tensor.shape:
            return tensor
        values = 8 // self.bits
        shape = (*tensor.shape[:-1], tensor.shape[-1] * values)
        if self.rows and tensor.elements % self.rows == 0:
            shape = (self.rows, tensor.elements * values // self.rows)
        return replace(tensor, dtype=_PACKED[self.bits], shape=shape)


def roles_in(graph: Any) -> dict[str, Role]:
    """Return the role of each tensor that belongs to a quantized matrix, by its name."""
    roles: dict[str, Role] = {}
    for node in graph.node:
        describe = _OPERATORS.get(node.op_type)
        if describe is None:
            continue
        attributes = {one.name: int(one.i) for one in node.attribute}
        for name, role in zip(
            node.input, describe(node.name or node.output[0], attributes), strict=False
        ):
            if role is not None and name:
                roles.setdefault(name, role)
    return roles


def _matmul(node: str, attributes: dict[str, int]) -> Iterator[Role | None]:
    bits, rows = attributes.get("bits", 4), attributes.get("N", 0)
    size = f"{rows} x {attributes.get('K', 0)}, blocks of {attributes.get('block_size', 0)}"
    yield None
    yield Role(f"{bits}-bit weights ({size})", node, bits, rows)
    yield Role("scales", node)
    yield Role("zero points", node, bits, rows)
    yield Role("order of groups", node)
    yield Role("bias", node)


def _gather(node: str, attributes: dict[str, int]) -> Iterator[Role | None]:
    bits = attributes.get("bits", 4)
    yield Role(f"{bits}-bit rows (blocks of {attributes.get('block_size', 128)})", node, bits)
    yield None
    yield Role("scales", node)
    yield Role("zero points", node, bits)


def _dequantize(node: str, _: dict[str, int]) -> Iterator[Role | None]:
    yield Role("quantized values", node)
    yield Role("scales", node)
    yield Role("zero points", node)


_OPERATORS: dict[str, Callable[[str, dict[str, int]], Iterator[Role | None]]] = {
    "MatMulNBits": _matmul,
    "GatherBlockQuantized": _gather,
    "DequantizeLinear": _dequantize,
}
