"""Gives a graph optional inputs for the matrices of a low-rank adapter, and finds them in one.

The product of hidden states ``x`` with a matrix ``W`` becomes ``x W + (x A) B``. ``A`` [inputs,
rank] and ``B`` [rank, outputs] are inputs of the graph that have empty matrices of rank 0 for
defaults: without an adapter, nothing is added. Adapters of any rank fit the same graph. A matrix
that joins several of the checkpoint's has a pair for each of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from pipeline.onnx.dequantize import Matrix, matrices
from pipeline.onnx.graph import OnnxModel, dimensions
from pipeline.onnx.origins import Origin, Origins
from pipeline.onnx.quantized import PACKED

_FIRST, _SECOND = "lora_A.weight", "lora_B.weight"


@dataclass(frozen=True)
class Part:
    """Rows of a matrix of the graph that an adapter can change, and what the change is made of."""

    first: str
    """Name of the input ``A`` [inputs, rank]."""
    second: str
    """Name of the input ``B`` [rank, outputs]."""
    origin: Origin
    """The rows, and those of the checkpoint's tensor that they were made from."""


def add_inputs(model: OnnxModel, origins: Origins, adapted: AbstractSet[str]) -> list[Part]:
    """Give every matrix of ``model`` that was made from one of the tensors ``adapted`` inputs for
    an adapter, in place. Return their parts, also those of a joined matrix that are not adapted.
    """
    parts: list[Part] = []
    added: dict[str, list[Any]] = {}
    for matrix in matrices(model):
        pieces = list(_pieces(origins.of(matrix.name, matrix.shape[0])))
        if not adapted & {piece.tensor for piece in pieces}:
            continue
        prefix, projection = matrix.name.partition(".MatMul.")[0].rpartition(".")[::2]
        names = [piece.layer.split()[-1] if len(pieces) > 1 else projection for piece in pieces]
        own = [
            Part(f"{prefix}.{name}.{_FIRST}", f"{prefix}.{name}.{_SECOND}", piece)
            for name, piece in zip(names, pieces, strict=True)
        ]
        for part in own:
            _add_pair(model.graph, part, matrix)
        added[matrix.node.output[0]] = _branch(matrix, own)
        parts += own
    nodes = []
    for node in model.graph.node:
        copied = type(node)()
        copied.CopyFrom(node)
        following = added.get(node.output[0], []) if node.output else []
        if following:
            copied.output[0] = _alone(node.output[0])
        nodes += [copied, *following]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return parts


@dataclass(frozen=True)
class Branch:
    """What a graph adds to the products of one of its matrices."""

    matrix: Matrix
    pairs: tuple[tuple[str, str], ...]
    """Names of the inputs ``A`` and ``B`` of each part of its rows, in their order."""

    def change(self, model: OnnxModel, weights: Mapping[str, Any]) -> Any:
        """Return what an adapter with ``weights`` adds to the matrix, [outputs, inputs] in fp64.

        Raises ``ValueError`` if that has another shape.
        """
        import numpy as np

        inputs = {value.name: dimensions(value) for value in model.graph.input}
        parts = []
        for first, second in self.pairs:
            if first in weights and second in weights:
                left, right = (np.asarray(weights[name], np.float64).T for name in (second, first))
                parts.append(left @ right)
            else:
                parts.append(np.zeros((int(inputs[second][1]), self.matrix.shape[1])))
        change = np.concatenate(parts)
        if change.shape != self.matrix.shape:
            raise ValueError(f"{self.pairs[0][0]} is for a matrix of another shape")
        return change


def branches(model: OnnxModel) -> Iterator[Branch]:
    """Yield what the graph adds to its matrices, as its nodes have it."""
    makers = {name: node for node in model.nodes for name in node.output if name}
    optional = optional_inputs(model)
    sums = [node for node in model.of_type("Add") if len(node.input) == 2]
    for matrix in matrices(model):
        for node in sums:
            if node.input[0] != matrix.node.output[0]:
                continue
            made = makers.get(node.input[1])
            each = (
                list(made.input)
                if made is not None and made.op_type == "Concat"
                else [node.input[1]]
            )
            pairs = [_pair(name, matrix.node.input[0], makers) for name in each]
            if all(pair is not None and set(pair) <= optional for pair in pairs):
                yield Branch(matrix, tuple(pair for pair in pairs if pair is not None))


def optional_inputs(model: OnnxModel) -> frozenset[str]:
    """Return the names of the inputs that have a default: those of an adapter."""
    stored = {tensor.name for tensor in model.graph.initializer}
    return frozenset(value.name for value in model.graph.input if value.name in stored)


def number_format(model: OnnxModel, name: str) -> Any:
    """Return NumPy's type of the numbers of the input ``name``."""
    import onnx

    (kind,) = (
        value.type.tensor_type.elem_type for value in model.graph.input if value.name == name
    )
    return onnx.helper.tensor_dtype_to_np_dtype(kind)


def _pieces(origins: Sequence[Origin]) -> Iterator[Origin]:
    """Yield ``origins`` with those joined that follow each other in the checkpoint too."""
    waiting: Origin | None = None
    for origin in origins:
        if (
            waiting is not None
            and origin.tensor == waiting.tensor
            and origin.tensor_first == waiting.tensor_first + waiting.count
        ):
            count = waiting.count + origin.count
            waiting = Origin(
                waiting.layer, waiting.first, count, waiting.tensor, waiting.tensor_first
            )
            continue
        if waiting is not None:
            yield waiting
        waiting = origin
    if waiting is not None:
        yield waiting


def _add_pair(graph: Any, part: Part, matrix: Matrix) -> None:
    from onnx import helper

    rank = f"{part.first.removesuffix(_FIRST)}rank"
    number, columns = _number(matrix), matrix.shape[1]
    for name, shape, empty in (
        (part.first, (columns, rank), (columns, 0)),
        (part.second, (rank, part.origin.count), (0, part.origin.count)),
    ):
        graph.input.append(helper.make_tensor_value_info(name, number, shape))
        graph.initializer.append(helper.make_tensor(name, number, empty, []))


def _branch(matrix: Matrix, parts: Sequence[Part]) -> list[Any]:
    """Return the nodes that add what an adapter changes, the last of which is the sum."""
    from onnx import helper

    nodes, made = [], []
    output, given = matrix.node.output[0], matrix.node.input[0]
    for part in parts:
        layer = "/" + part.first.removesuffix(f".{_FIRST}").replace(".", "/")
        narrow, wide = f"{layer}/lora_A/MatMul", f"{layer}/lora_B/MatMul"
        nodes += [
            helper.make_node("MatMul", [given, part.first], [f"{narrow}/output_0"], narrow),
            helper.make_node(
                "MatMul", [f"{narrow}/output_0", part.second], [f"{wide}/output_0"], wide
            ),
        ]
        made.append(f"{wide}/output_0")
    name = matrix.node.name.rpartition("/")[0]
    if len(made) > 1:
        joined = f"{name}/lora/Concat"
        nodes.append(helper.make_node("Concat", made, [f"{joined}/output_0"], joined, axis=-1))
        made = [f"{joined}/output_0"]
    nodes.append(helper.make_node("Add", [_alone(output), *made], [output], f"{name}/lora/Add"))
    return nodes


def _alone(output: str) -> str:
    """Return the name of a matrix's product without what an adapter adds."""
    return f"{output}/without_adapter"


def _number(matrix: Matrix) -> int:
    """Return ONNX's number of the type of a matrix's products: that of its scales, or its own."""
    node = matrix.node if matrix.source is None else matrix.source
    packed = node.op_type == PACKED
    place = 2 if packed else 1
    return int(matrix.model.initializers[node.input[place]].data_type)


def _pair(name: str, given: str, makers: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the inputs ``A`` and ``B`` if ``name`` is ``(given A) B``; else ``None``."""
    wide = makers.get(name)
    narrow = None if wide is None or wide.op_type != "MatMul" else makers.get(wide.input[0])
    if wide is None or narrow is None or narrow.op_type != "MatMul" or narrow.input[0] != given:
        return None
    return str(narrow.input[1]), str(wide.input[1])
