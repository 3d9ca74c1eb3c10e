"""Makes the embedding of a quantized graph right, and small.

Where a model ties embedding and output layer, the builder has both read the same integers. It
guesses the names that the quantizer will give them, wrongly for zero points and for an output layer
of another width, and then the graph does not load. Here the embedding reads what the output layer
reads.

Where they are apart, the builder leaves the embedding in floats, or quantizes it by an algorithm of
its own that needs all weights at once. Here its rows are quantized when they are written.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir

from pipeline.builder.blockwise import Blockwise
from pipeline.builder.matrices import lazy, materialized, quantizing_method, replaced
from pipeline.builder.params import SMALLEST_BLOCK
from pipeline.contract.errors import StepError
from pipeline.onnx.quantized import LOOK_UP

_EMBEDDING = "/model/embed_tokens/Gather"
"""The builder's name of the node that looks up the rows of an embedding in floats."""
_HEAD = "/lm_head/MatMul"


@contextlib.contextmanager
def mended_embedding(bits: int | None, block_size: int) -> Iterator[None]:
    """While entered, the builder's quantized graphs have an embedding that reads what the output
    layer reads, if they share it, and else one of ``bits`` bits, or in floats if that is ``None``.
    """
    base = sys.modules["builders.base"]
    name = quantizing_method(base)
    plain: Callable[[Any], ir.Model] = getattr(base.Model, name)

    def quantize(builder: Any) -> ir.Model:
        model = plain(builder)
        if not _share(model.graph) and bits is not None:
            _quantize(model.graph, bits, block_size)
        return model

    with replaced(base.Model, name, quantize):
        yield


def _share(graph: ir.Graph) -> bool:
    """Have the embedding read what the output layer reads. Return whether they share weights."""
    look_up = _first(graph, lambda node: node.op_type == LOOK_UP)
    head = _first(graph, lambda node: (node.name or "").startswith(_HEAD))
    shape = None if look_up is None else _reshape(look_up)
    if look_up is None or shape is None or head is None or head.op_type != "MatMulNBits":
        return False
    former = [shape.inputs[0], *look_up.inputs[2:]]
    shape.replace_input_with(0, head.inputs[1])
    stored = [value for value in head.inputs[2:4] if value is not None]
    look_up.resize_inputs(2 + len(stored))
    for at, value in enumerate(stored, start=2):
        look_up.replace_input_with(at, value)
    for name in ("bits", "block_size"):
        look_up.attributes[name] = ir.AttrInt64(name, head.attributes[name].as_int())
    for value in former:
        if value is not None and value.name in graph.initializers and not value.uses():
            del graph.initializers[value.name]
    return True


def _quantize(graph: ir.Graph, bits: int, block_size: int) -> None:
    """Quantize the rows of an embedding in floats; nothing else may read them.

    Raises :class:`StepError` if they cannot be divided into blocks.
    """
    node = _first(graph, lambda node: node.name == _EMBEDDING)
    table = None if node is None else node.inputs[0]
    if node is None or table is None or table.const_value is None or len(table.uses()) > 1:
        return
    rows, width = (int(size) for size in table.const_value.shape)
    while width % block_size and block_size > SMALLEST_BLOCK:
        block_size //= 2
    if width % block_size:
        raise StepError(
            f"the embedding has {width} columns, which are not blocks of {SMALLEST_BLOCK}",
            'set embedding = "float" of model_builder',
            "bad_input",
        )
    name, number = str(table.name), table.const_value.dtype
    method = Blockwise(bits, block_size, least_squares=bits == 4, zero_points=bits == 4)
    stored = _Rows(table.const_value, method)
    blocks = width // block_size
    pieces = [
        ("_Q", ir.DataType.UINT8, width * bits // 8),
        ("_scales", number, blocks),
        ("_zero_points", ir.DataType.UINT8, -(-blocks * bits // 8)),
    ][: 3 if method.zero_points else 2]
    values = [
        _initializer(
            graph,
            lazy(functools.partial(stored.piece, at), kind, (rows, columns), f"{name}{suffix}"),
        )
        for at, (suffix, kind, columns) in enumerate(pieces)
    ]
    node.op_type, node.domain = LOOK_UP, "com.microsoft"
    node.attributes.clear()
    for key, number_of in (
        ("bits", bits),
        ("block_size", block_size),
        ("gather_axis", 0),
        ("quantize_axis", 1),
    ):
        node.attributes[key] = ir.AttrInt64(key, number_of)
    node.resize_inputs(1 + len(values))
    node.replace_input_with(0, values[0])
    for at, value in enumerate(values[1:], start=2):
        node.replace_input_with(at, value)
    del graph.initializers[name]


@dataclass
class _Rows:
    """The quantized rows of an embedding, each tensor of which is returned once."""

    table: ir.TensorProtocol
    method: Blockwise
    lock: threading.Lock = field(default_factory=threading.Lock)
    pieces: dict[int, Any] = field(default_factory=dict)

    def piece(self, at: int) -> ir.TensorProtocol:
        """Return integers, scales or zero points; the first call quantizes."""
        with self.lock:
            if at not in self.pieces:
                self.pieces = dict(enumerate(self._quantized()))
            return ir.tensor(self.pieces.pop(at))

    def _quantized(self) -> Sequence[Any]:
        import torch

        tensor = materialized(self.table)
        rows = tensor.raw if isinstance(tensor.raw, torch.Tensor) else torch.tensor(tensor.numpy())
        packed, *others = self.method.quantize(rows.T)
        return packed.reshape(len(packed), -1), *others


def _initializer(graph: ir.Graph, tensor: ir.LazyTensor) -> ir.Value:
    value = ir.Value(
        name=tensor.name, type=ir.TensorType(tensor.dtype), shape=tensor.shape, const_value=tensor
    )
    graph.register_initializer(value)
    return value


def _first(graph: ir.Graph, fits: Callable[[ir.Node], bool]) -> ir.Node | None:
    return next((node for node in graph if fits(node)), None)


def _reshape(node: ir.Node) -> ir.Node | None:
    """Return the ``Reshape`` that makes the first input of ``node``, if one does."""
    value = node.inputs[0]
    producer = None if value is None else value.producer()
    return producer if producer is not None and producer.op_type == "Reshape" else None
