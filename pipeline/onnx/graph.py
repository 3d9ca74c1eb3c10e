"""Reads an ONNX model file: its nodes, its weights, and the location of their bytes.

Knows ``com.microsoft`` operators, which ``onnx.checker`` rejects ("No Op registered for
SimplifiedLayerNormalization").
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

_LOOK_UPS = ("Gather", "GatherBlockQuantized")
_PLACE = ("location", "offset", "length", "checksum")
"""What says where bytes lie. Others, such as ``prepacked_0``, have the runtime read other bytes."""


_TAKEN_FOR_GRANTED: Mapping[str, tuple[int, tuple[str, ...]]] = {
    "MatMulNBits": (3, ("N", "K", "block_size")),
    "MatMul": (2, ()),
    "Gemm": (2, ()),
}
"""How many inputs a node of these operators has at least, and its attributes above zero."""


@dataclass(frozen=True)
class External:
    """Where an initializer's bytes lie: file beside the model, offset and length in bytes."""

    location: str
    offset: int
    length: int | None

    @property
    def end(self) -> int:
        """Return the offset of the first byte after it; its own offset if it has no length."""
        return self.offset + (self.length or 0)


class OnnxModel:
    """The graph of a model file, its subgraphs included, without its external data."""

    def __init__(self, path: Path) -> None:
        """Raises ``ValueError`` if the file is not an ONNX model."""
        import onnx

        self.path = path
        try:
            self.proto = onnx.load(str(path), load_external_data=False)
        except Exception as error:  # protobuf's own error class differs between its versions
            raise ValueError(f"{path.name} is not an ONNX model: {error}") from error
        if not self.proto.graph.node:
            raise ValueError(f"{path.name} holds an empty graph")
        for problem in self._problems():
            raise ValueError(f"{path.name} is not an ONNX model: {problem}")

    def _problems(self) -> Iterator[str]:
        """Yield what no writer writes, and readers take for granted."""
        import onnx

        for name, tensor in self.initializers.items():
            if tensor.data_type not in onnx.TensorProto.DataType.values() or not tensor.data_type:
                yield f"the tensor {name} is of no type"
            if any(size < 0 for size in tensor.dims):
                yield f"the tensor {name} has a negative size"
        for node in self.nodes:
            try:
                facts = attributes(node)
            except (ValueError, TypeError) as error:
                yield f"{node.name or node.op_type}: {error}"
                continue
            operands, numbers = _TAKEN_FOR_GRANTED.get(node.op_type, (0, ()))
            if len(node.input) < operands:
                yield f"{node.name or node.op_type} has {len(node.input)} inputs"
            for fact in numbers:
                if not isinstance(facts.get(fact), int) or facts[fact] < 1:
                    yield f"{node.name or node.op_type} has no {fact}"

    @property
    def graph(self) -> Any:
        """Return the main graph."""
        return self.proto.graph

    @cached_property
    def nodes(self) -> tuple[Any, ...]:
        """Return the nodes of the main graph and of its subgraphs."""
        return tuple(node for graph in subgraphs(self.graph) for node in graph.node)

    @cached_property
    def initializers(self) -> Mapping[str, Any]:
        """Return all initializers by name."""
        return {
            tensor.name: tensor for graph in subgraphs(self.graph) for tensor in graph.initializer
        }

    @cached_property
    def bytes_per_token(self) -> int:
        """Return how many bytes of weights are read per token: all, without tables from which nodes
        only look up a row, such as an embedding that is not also the output layer."""
        read = {name for node in self.nodes if node.op_type not in _LOOK_UPS for name in node.input}
        return sum(byte_size(tensor) for name, tensor in self.initializers.items() if name in read)

    def of_type(self, *types: str) -> list[Any]:
        """Return the nodes whose operator is one of ``types``."""
        return [node for node in self.nodes if node.op_type in types]

    def values(self, name: str) -> Any:
        """Return an initializer as a numpy array, mapped from its file if it is external.

        Raises ``ValueError`` or ``OSError`` if its bytes are missing.
        """
        import numpy as np
        import onnx

        tensor = self.initializers[name]
        outside = external(tensor)
        if outside is None:
            return onnx.numpy_helper.to_array(tensor)
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        file = self.path.parent / outside.location
        return np.memmap(file, dtype, "r", outside.offset, tuple(tensor.dims) or (1,))

    def bytes_of(self, name: str) -> Any:
        """Return the bytes of an initializer as a numpy array, mapped like those of :meth:`values`.

        Raises ``ValueError`` or ``OSError`` if they are missing.
        """
        import numpy as np
        import onnx

        tensor = self.initializers[name]
        outside = external(tensor)
        if outside is None:
            return np.frombuffer(onnx.numpy_helper.to_array(tensor).tobytes(), np.uint8)
        size = byte_size(tensor)
        if not size:
            return np.empty(0, np.uint8)
        file = self.path.parent / outside.location
        return np.memmap(file, np.uint8, "r", outside.offset, (size,))


def is_matrix(tensor: Any) -> bool:
    """Return whether an initializer is a matrix; an empty one is the default of an adapter's."""
    return len(tensor.dims) == 2 and all(tensor.dims)


def subgraphs(graph: Any) -> Iterator[Any]:
    """Yield ``graph`` and every graph inside its nodes' attributes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node:
                    yield from subgraphs(inner)


def attributes(node: Any) -> dict[str, Any]:
    """Return a node's attributes as Python values."""
    import onnx

    return {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}


def external(tensor: Any) -> External | None:
    """Return the location of a tensor's bytes, or ``None`` if they are in the model file itself.

    Raises ``ValueError`` for entries that are not numbers, stand twice, or say something else.
    """
    import onnx

    if tensor.data_location != onnx.TensorProto.EXTERNAL:
        return None
    entries = {entry.key: entry.value for entry in tensor.external_data}
    if len(entries) < len(tensor.external_data) or not entries.keys() <= set(_PLACE):
        raise ValueError(f"it has the entries {[entry.key for entry in tensor.external_data]}")
    length = entries.get("length")
    return External(
        location=entries.get("location", ""),
        offset=int(entries.get("offset", 0)),
        length=None if length is None else int(length),
    )


def byte_size(tensor: Any) -> int:
    """Return the size in bytes of a tensor's type and shape; 4-bit types are packed."""
    import onnx

    four_bits = (onnx.TensorProto.INT4, onnx.TensorProto.UINT4)
    count = math.prod(int(size) for size in tensor.dims)
    if tensor.data_type in four_bits:
        return (count + 1) // 2
    return count * int(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)


def dimensions(value: Any) -> tuple[int | str, ...]:
    """Return the shape of a graph input or output; a symbolic dimension is its name."""
    shape = value.type.tensor_type.shape
    return tuple(dim.dim_param or int(dim.dim_value) for dim in shape.dim)
