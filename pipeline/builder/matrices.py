"""Quantizes the matrices of a graph one at a time, when each of them is written.

The builder's quantizer first runs on a graph whose matrices [k, n] are cut to one column. Columns
are quantized independently of each other, so this decides everything but the values: nodes, names,
types and shapes. Then the widths are restored, and each matrix is quantized when the file is
written: by the kernel that the quantizer calls, or for ``rtn`` and ``k_quant``, which it has in
Python only, by :mod:`pipeline.builder.blockwise`.

A weight is stored as an integer ``q`` that stands for ``(q - zero_point) * scale``, with one scale
and zero point per ``block_size`` weights of a column: the operator ``MatMulNBits``
(ContribOperators.md of onnxruntime).
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

from pipeline.builder.blockwise import Blockwise
from pipeline.builder.coded import CodedWeights
from pipeline.weights.deferred import Deferred, computed

_BLOCKWISE = ("RTN", "k_quant")
"""The quantizer's names of the algorithms that :mod:`pipeline.builder.blockwise` has."""
_ZERO_POINTS = 3
"""Number of the input of ``MatMulNBits`` that holds the zero points."""
_QUANTIZES = ("to_nbits", "to_int4")
"""The builder's method that quantizes its graph: since onnxruntime_genai 0.14, and before."""
_COLUMNS = 1024
"""Columns quantized at once: few enough to stay in the processor's cache."""

Progress = Callable[[int, int], None]


class NotStreamable(Exception):
    """The builder processes this model in a way that cannot be done matrix by matrix."""


@contextlib.contextmanager
def replaced(owner: Any, name: str, value: object) -> Iterator[None]:
    """Set the attribute ``name`` of ``owner`` to ``value`` while the block runs."""
    former = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, former)


def quantizing_method(base: Any) -> str:
    """Return the name of the method of ``base``, the builder's module, that quantizes its graph."""
    return next(name for name in _QUANTIZES if hasattr(base.Model, name))


def materialized(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    """Return ``tensor`` with its values computed, if they were deferred."""
    while isinstance(tensor, ir.LazyTensor):
        tensor = tensor.raw()
    return TorchTensor(computed(tensor.raw)) if isinstance(tensor, TorchTensor) else tensor


class WhenWritten(ir.LazyTensor):  # type: ignore[misc] # torch has none where types are checked
    """A tensor of the builder's whose values are computed when it is written."""

    def __init__(self, tensor: ir.TensorProtocol) -> None:
        super().__init__(
            functools.partial(materialized, tensor),
            dtype=tensor.dtype,
            shape=ir.Shape(tensor.shape),
            name=tensor.name,
        )
        self.recorded = tensor


def _as_recorded(tensor: ir.TensorProtocol) -> Deferred | None:
    """Return what stands for the values of ``tensor``, if they are deferred."""
    while isinstance(tensor, ir.LazyTensor):
        tensor = tensor.recorded if isinstance(tensor, WhenWritten) else tensor.raw()
    value = tensor.raw if isinstance(tensor, TorchTensor) else None
    return value if isinstance(value, Deferred) else None


@dataclass
class _Matrix:
    """A matrix product of the graph, before it is quantized."""

    node: onnx.NodeProto
    weight: ir.LazyTensor
    """Shape [inputs, outputs]."""
    quantizer: MatMulNBitsQuantizer | None = None
    """The quantizer that turned the node into a ``MatMulNBits``; ``None`` if none did."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Arguments with which ``quantizer`` was made, without the model."""
    product: ir.Node | None = None
    """The node of the quantized graph, if it is a ``MatMulNBits``."""

    @property
    def columns(self) -> int:
        return int(self.weight.shape[1])

    def column(self) -> ir.TensorProtocol:
        """Return a column of zeros, [inputs, 1], as a placeholder for the weight."""
        zeros = np.zeros((int(self.weight.shape[0]), 1), self.weight.dtype.numpy())
        return ir.tensor(zeros, self.weight.dtype, name=self.weight.name)

    def quantized(self, coded: CodedWeights | None = None) -> list[ir.TensorProtocol]:
        """Return the packed weights, the scales and, if there are any, the zero points: those of
        ``coded``, if it has some of this matrix."""
        assert self.quantizer is not None  # noqa: S101 - it is asked for what was quantized
        chosen = coded and self._chosen(coded)
        if chosen:
            return chosen
        if self.weight.dtype in (ir.DataType.FLOAT, ir.DataType.FLOAT16):
            algorithm = self.quantizer.algo_config.algorithm
            if algorithm == "DEFAULT":
                return self._quantized_by_kernel()
            if algorithm in _BLOCKWISE:
                return self._quantized_blockwise(algorithm)
        return self._quantized_alone()

    def _chosen(self, coded: CodedWeights) -> list[ir.TensorProtocol] | None:
        assert self.product is not None  # noqa: S101
        weight, asked = _as_recorded(self.weight), self.product.attributes
        if weight is None:
            return None
        pieces = coded.pieces(
            weight,
            asked["bits"].as_int(),
            asked["block_size"].as_int(),
            zero_points=len(self.product.inputs) > _ZERO_POINTS,
        )
        if pieces is None:
            return None
        packed, scales, *zeros = pieces
        number = self.weight.dtype.numpy()
        return [ir.tensor(piece) for piece in (packed, scales.astype(number), *zeros)]

    def _quantized_blockwise(self, algorithm: str) -> list[ir.TensorProtocol]:
        assert self.product is not None  # noqa: S101
        asked = self.product.attributes
        method = Blockwise(
            bits=asked["bits"].as_int(),
            block_size=asked["block_size"].as_int(),
            least_squares=algorithm == "k_quant",
            zero_points=len(self.product.inputs) > _ZERO_POINTS,
        )
        return [ir.tensor(piece) for piece in method.quantize(materialized(self.weight).raw)]

    def _quantized_by_kernel(self) -> list[ir.TensorProtocol]:
        """Quantize by the kernel that ``quantize_matmul`` calls, without its copies in protobuf."""
        assert self.quantizer is not None  # noqa: S101
        weight = materialized(self.weight).raw
        kernel = self.quantizer.node_quantizer.qbits_block_quant
        parts = [
            kernel(weight[:, at : at + _COLUMNS].contiguous().numpy())
            for at in range(0, self.columns, _COLUMNS)
        ]
        return [ir.tensor(np.concatenate(piece)) for piece in zip(*parts, strict=True)]

    def _quantized_alone(self) -> list[ir.TensorProtocol]:
        """Quantize by running the quantizer on a graph of this product only."""
        graph = onnx.helper.make_graph(
            [self.node],
            "matrix",
            [],
            [],
            [ir.serde.serialize_tensor(_named(materialized(self.weight), self.weight.name))],
        )
        quantizer = MatMulNBitsQuantizer(model=onnx.helper.make_model(graph), **self.options)
        quantizer.process()
        quantized_graph = quantizer.model.model.graph
        tensors = {tensor.name: tensor for tensor in quantized_graph.initializer}
        (node,) = quantized_graph.node
        return [ir.from_proto(tensors[name]) for name in node.input[1:]]


@dataclass
class LazyMatrices:
    """The matrices of one graph that are quantized when they are written, and the progress."""

    slots: threading.Semaphore
    """Limits how many matrices are in memory at the same time."""
    progress: Progress
    coded: CodedWeights | None = None
    """Integers that are not left to the quantizer."""
    total: int = 0
    done: int = 0
    counting: threading.Lock = field(default_factory=threading.Lock)

    def replacement_for(self, plain: Callable[..., ir.Model], base: Any) -> Callable[..., ir.Model]:
        """Return the replacement for ``plain``, the builder's method that quantizes its graph.

        ``base`` is the builder's module that names ``MatMulNBitsQuantizer``. The replacement raises
        :class:`NotStreamable`.
        """

        def quantize(builder: Any) -> ir.Model:
            graph = builder.model.graph
            matrices = _matrices(graph)
            originals = {name: value.const_value for name, value in graph.initializers.items()}
            columns = {matrix.weight.name: matrix.column() for matrix in matrices.values()}
            for name, value in graph.initializers.items():
                value.const_value = columns.get(name) or placeholder(originals[name])
            with replaced(base, "MatMulNBitsQuantizer", _recording_quantizer(matrices)):
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
        """Restore the widths of the matrices, and make their tensors deferred.

        Raises :class:`NotStreamable` for a tensor that is neither original nor of a known matrix.
        """
        remaining = set(graph.initializers)
        for node in graph:
            matrix = matrices.get(node.outputs[0].name or "")
            if (
                node.op_type != "MatMulNBits"
                or matrix is None
                or "weight_prepacked" in node.attributes
            ):
                continue
            node.attributes["N"] = ir.AttrInt64("N", matrix.columns)
            matrix.product = node
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
                remaining.discard(str(value.name))
        for name in remaining & originals.keys():
            value = graph.initializers[name]
            value.const_value, value.shape = originals[name], originals[name].shape
        if unexpected := sorted(remaining - originals.keys()):
            raise NotStreamable(f"the builder quantizes {unexpected[0]} in a way of its own")

    def count_finished(self) -> None:
        """Count and report one more finished matrix."""
        with self.counting:
            self.done += 1
            self.progress(self.done, self.total)


@dataclass
class _Result:
    """The tensors of a quantized matrix, each of which is returned once."""

    matrix: _Matrix
    owner: LazyMatrices
    lock: threading.Lock = field(default_factory=threading.Lock)
    pieces: dict[int, ir.TensorProtocol] = field(default_factory=dict)

    def piece(self, at: int) -> ir.TensorProtocol:
        """Return the tensor number ``at``; the first call quantizes the matrix."""
        with self.lock:
            if at not in self.pieces:
                with self.owner.slots:
                    self.pieces = dict(enumerate(self.matrix.quantized(self.owner.coded)))
                self.owner.count_finished()
            return self.pieces.pop(at)


def _matrices(graph: ir.Graph) -> dict[str, _Matrix]:
    """Return the products with a constant matrix, by the name of their output."""
    matrices = {}
    for node in graph:
        if node.op_type != "MatMul" or node.domain or len(node.inputs) != 2:
            continue
        weight = None if node.inputs[1] is None else node.inputs[1].const_value
        if isinstance(weight, ir.LazyTensor) and len(weight.shape) == 2:
            matrices[str(node.outputs[0].name)] = _Matrix(ir.to_proto(node), weight)
    return matrices


def _recording_quantizer(matrices: Mapping[str, _Matrix]) -> Callable[..., MatMulNBitsQuantizer]:
    """Return a quantizer class that records in ``matrices`` which of them it quantized."""

    class RecordingQuantizer(MatMulNBitsQuantizer):  # type: ignore[misc] # onnxruntime has no types
        def __init__(self, *, model: onnx.ModelProto, **options: Any) -> None:
            super().__init__(model=model, **options)
            self._options = options

        def process(self) -> None:
            try:
                super().process()
            except onnx.checker.ValidationError as error:  # it reads a placeholder
                raise NotStreamable(f"the builder quantizes more than matrices: {error}") from error
            for node in self.model.model.graph.node:
                matrix = matrices.get(node.output[0])
                if node.op_type == "MatMulNBits" and matrix and matrix.quantizer is None:
                    matrix.quantizer, matrix.options = self, self._options

    return RecordingQuantizer


def placeholder(tensor: ir.TensorProtocol) -> ir.ExternalTensor:
    """Return a placeholder with the type and shape of ``tensor``, without values."""
    return ir.ExternalTensor(
        "nowhere", 0, tensor.nbytes, tensor.dtype, shape=tensor.shape, name=str(tensor.name)
    )


def lazy(
    make: Callable[[], ir.TensorProtocol], dtype: ir.DataType, shape: Any, name: str | None
) -> ir.LazyTensor:
    """Return a tensor whose values are computed by ``make`` each time they are read."""
    return ir.LazyTensor(make, dtype=dtype, shape=ir.Shape(shape), name=name)


def _named(tensor: ir.TensorProtocol, name: str | None) -> ir.TensorProtocol:
    tensor.name = name
    return tensor
