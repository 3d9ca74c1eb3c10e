"""The matrix products of a graph, quantized one by one when they are written.

The graph is quantized with one column per matrix, which shows the quantizer all but the numbers,
since columns are quantized each by itself. Then the real widths are put back.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.tensor_adapters import TorchTensor
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

from pipeline.weights.deferred import computed

_COLUMNS = 1024
"""Columns quantized at once: few enough to stay near the processor."""

Progress = Callable[[int, int], None]


class NotStreamable(Exception):
    """The builder does something to this model that cannot be done matrix by matrix."""


@contextlib.contextmanager
def replaced(owner: Any, name: str, value: object) -> Iterator[None]:
    """While entered, give the attribute ``name`` of ``owner`` another value."""
    former = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, former)


def materialized(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    """Return ``tensor`` with nothing deferred left in it."""
    while isinstance(tensor, ir.LazyTensor):
        tensor = tensor.raw()
    return TorchTensor(computed(tensor.raw)) if isinstance(tensor, TorchTensor) else tensor


@dataclass
class _Matrix:
    """A matrix product of the graph before it is quantized."""

    node: onnx.NodeProto
    weight: ir.LazyTensor
    """Inputs times outputs."""
    quantizer: MatMulNBitsQuantizer | None = None
    """Made it a ``MatMulNBits``."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What ``quantizer`` was made with, but for the model."""

    @property
    def columns(self) -> int:
        return int(self.weight.shape[1])

    def column(self) -> ir.TensorProtocol:
        """Return a stand-in for the weight's first column."""
        zeros = np.zeros((int(self.weight.shape[0]), 1), self.weight.dtype.numpy())
        return ir.tensor(zeros, self.weight.dtype, name=self.weight.name)

    def quantized(self) -> list[ir.TensorProtocol]:
        """Return weights, scales and, where the matrix has them, zero points."""
        assert self.quantizer is not None  # noqa: S101 - it is asked for what was quantized
        default = self.quantizer.algo_config.algorithm == "DEFAULT"
        if default and self.weight.dtype in (ir.DataType.FLOAT, ir.DataType.FLOAT16):
            return self._by_kernel()
        return self._alone()

    def _by_kernel(self) -> list[ir.TensorProtocol]:
        """Call the kernel as ``quantize_matmul`` does, without turning it all into protobuf."""
        assert self.quantizer is not None  # noqa: S101
        weight = materialized(self.weight).raw
        kernel = self.quantizer.node_quantizer.qbits_block_quant
        parts = [
            kernel(weight[:, at : at + _COLUMNS].contiguous().numpy())
            for at in range(0, self.columns, _COLUMNS)
        ]
        return [ir.tensor(np.concatenate(piece)) for piece in zip(*parts, strict=True)]

    def _alone(self) -> list[ir.TensorProtocol]:
        """Quantize a graph of this product only."""
        graph = onnx.helper.make_graph(
            [self.node],
            "matrix",
            [],
            [],
            [ir.serde.serialize_tensor(_named(materialized(self.weight), self.weight.name))],
        )
        quantizer = MatMulNBitsQuantizer(model=onnx.helper.make_model(graph), **self.options)
        quantizer.process()
        made = quantizer.model.model.graph
        tensors = {tensor.name: tensor for tensor in made.initializer}
        (node,) = made.node
        return [ir.from_proto(tensors[name]) for name in node.input[1:]]


@dataclass
class Works:
    """What is to be quantized when it is written."""

    slots: threading.Semaphore
    """Limits how many matrices are held at once."""
    progress: Progress
    total: int = 0
    done: int = 0
    counting: threading.Lock = field(default_factory=threading.Lock)

    def instead_of(self, plain: Callable[..., ir.Model], base: Any) -> Callable[..., ir.Model]:
        """Return what the builder is to call instead of ``plain`` to quantize its graph."""

        def quantize(builder: Any) -> ir.Model:
            graph = builder.model.graph
            matrices = _matrices(graph)
            originals = {name: value.const_value for name, value in graph.initializers.items()}
            columns = {matrix.weight.name: matrix.column() for matrix in matrices.values()}
            for name, value in graph.initializers.items():
                value.const_value = columns.get(name) or _nowhere(originals[name])
            with replaced(base, "MatMulNBitsQuantizer", _watched(matrices)):
                model = plain(builder)
            self._widen(model.graph, matrices, originals)
            return model

        return quantize

    def _widen(
        self,
        graph: ir.Graph,
        matrices: Mapping[str, _Matrix],
        originals: Mapping[str, ir.TensorProtocol],
    ) -> None:
        """Give the matrices their columns back, and every tensor its numbers to come."""
        left = set(graph.initializers)
        for node in graph:
            matrix = matrices.get(node.outputs[0].name or "")
            if (
                node.op_type != "MatMulNBits"
                or matrix is None
                or "weight_prepacked" in node.attributes
            ):
                continue
            node.attributes["N"] = ir.AttrInt64("N", matrix.columns)
            result = _Result(matrix, self)
            self.total += 1
            for at, value in enumerate(node.inputs[1:]):
                assert value is not None and value.const_value is not None  # noqa: S101
                column = value.const_value
                shape = ir.Shape((matrix.columns, *column.shape[1:]))
                value.const_value = lazy(
                    functools.partial(result.piece, at), column.dtype, shape, column.name
                )
                value.shape = shape
                left.discard(str(value.name))
        for name in left & originals.keys():
            value = graph.initializers[name]
            value.const_value, value.shape = originals[name], originals[name].shape
        if strange := sorted(left - originals.keys()):
            raise NotStreamable(f"the builder quantizes {strange[0]} in a way of its own")

    def count(self) -> None:
        """Note that one more is done."""
        with self.counting:
            self.done += 1
            self.progress(self.done, self.total)


@dataclass
class _Result:
    """The pieces of a quantized matrix, each handed out once."""

    matrix: _Matrix
    works: Works
    lock: threading.Lock = field(default_factory=threading.Lock)
    pieces: dict[int, ir.TensorProtocol] = field(default_factory=dict)

    def piece(self, at: int) -> ir.TensorProtocol:
        """Return one piece; quantizes when the first one is asked for."""
        with self.lock:
            if at not in self.pieces:
                with self.works.slots:
                    self.pieces = dict(enumerate(self.matrix.quantized()))
                self.works.count()
            return self.pieces.pop(at)


def _matrices(graph: ir.Graph) -> dict[str, _Matrix]:
    """Return the products with a constant matrix, by the name of their result."""
    found = {}
    for node in graph:
        if node.op_type != "MatMul" or node.domain or len(node.inputs) != 2:
            continue
        weight = None if node.inputs[1] is None else node.inputs[1].const_value
        if isinstance(weight, ir.LazyTensor) and len(weight.shape) == 2:
            found[str(node.outputs[0].name)] = _Matrix(ir.to_proto(node), weight)
    return found


def _watched(matrices: Mapping[str, _Matrix]) -> Callable[..., MatMulNBitsQuantizer]:
    """Return a quantizer that notes in ``matrices`` which of them it quantized."""

    class Watched(MatMulNBitsQuantizer):  # type: ignore[misc] # onnxruntime has no types
        def __init__(self, *, model: onnx.ModelProto, **options: Any) -> None:
            super().__init__(model=model, **options)
            self._options = options

        def process(self) -> None:
            try:
                super().process()
            except onnx.checker.ValidationError as error:  # it reads what lies nowhere
                raise NotStreamable(f"the builder quantizes more than matrices: {error}") from error
            for node in self.model.model.graph.node:
                matrix = matrices.get(node.output[0])
                if node.op_type == "MatMulNBits" and matrix and matrix.quantizer is None:
                    matrix.quantizer, matrix.options = self, self._options

    return Watched


def _nowhere(tensor: ir.TensorProtocol) -> ir.ExternalTensor:
    """Return a stand-in with the type and shape of ``tensor``, and no numbers."""
    return ir.ExternalTensor(
        "nowhere", 0, tensor.nbytes, tensor.dtype, shape=tensor.shape, name=str(tensor.name)
    )


def lazy(
    make: Callable[[], ir.TensorProtocol], dtype: ir.DataType, shape: Any, name: str | None
) -> ir.LazyTensor:
    """Return a tensor that ``make`` makes each time its numbers are asked for."""
    return ir.LazyTensor(make, dtype=dtype, shape=ir.Shape(shape), name=name)


def _named(tensor: ir.TensorProtocol, name: str | None) -> ir.TensorProtocol:
    tensor.name = name
    return tensor
