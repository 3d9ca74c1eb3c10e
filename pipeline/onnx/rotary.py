"""The tables of rotary positions: those that a model computes, and those that a graph holds.

A model with one set of frequencies has one table. One with two (longrope) uses the long one where a
text is longer than the model's original context.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.onnx.graph import OnnxModel

_OPERANDS = {"GroupQueryAttention": (7, 8), "RotaryEmbedding": (2, 3), "PagedAttention": (7, 8)}
"""Which inputs of an operator are its tables of cosines and sines."""
_EVENLY = 512
_AROUND = 2048
"""The position past which wrong tables were seen; saved with its neighbours."""


@dataclass(frozen=True)
class RotaryTable:
    """Rows of a model's table."""

    length: int
    """Most positions of a text that the model uses it for."""
    positions: Any
    """Which rows, int64."""
    cos: Any
    """Shape (positions, frequencies), float32, the model's attention scaling included."""
    sin: Any


@dataclass(frozen=True)
class GraphTable:
    """A table in the graph: row ``n`` is of position ``n``."""

    name: str
    cos: Any
    sin: Any


def chosen(length: int) -> Any:
    """Return the positions that are saved of a table: all ends, and evenly between them."""
    import numpy as np

    near = np.arange(_AROUND - 8, _AROUND + 65)
    evenly = np.linspace(0, length - 1, min(_EVENLY, length))
    every = np.concatenate([np.arange(16), near, evenly.astype(np.int64), [length - 1]])
    return np.unique(every[every < length])


def graph_tables(model: OnnxModel) -> list[GraphTable]:
    """Return the tables that the attention layers read, each once."""
    found: dict[tuple[str, str], None] = {}
    for node in model.of_type(*_OPERANDS):
        cos, sin = _OPERANDS[node.op_type]
        if len(node.input) > sin and node.input[cos]:
            found[node.input[cos], node.input[sin]] = None
    return [table for cos, sin in found for table in _tables(model, cos, sin)]


def _tables(model: OnnxModel, cos: str, sin: str) -> Iterator[GraphTable]:
    """Yield the tables behind two names: stored ones, or those of each branch of an ``If``."""
    import onnx

    if cos in model.initializers and sin in model.initializers:
        yield GraphTable(cos, model.values(cos), model.values(sin))
        return
    for node in model.of_type("If"):
        outputs = list(node.output)
        if cos not in outputs or sin not in outputs:
            continue
        for branch in node.attribute:
            constants = {
                output: attribute.t
                for inner in branch.g.node
                if inner.op_type == "Constant"
                for output in inner.output
                for attribute in inner.attribute
                if attribute.name == "value"
            }
            names = [branch.g.output[outputs.index(name)].name for name in (cos, sin)]
            if all(name in constants for name in names):
                values = [onnx.numpy_helper.to_array(constants[name]) for name in names]
                yield GraphTable(names[0], *values)


def table_error(ours: Sequence[GraphTable], theirs: Sequence[RotaryTable]) -> tuple[float, str]:
    """Return the largest difference between the graph's tables and the model's, and where it is.

    Cosines and sines are at most 1 (times the attention scaling). A table that ends before the
    model's does, or that is missing, differs infinitely.
    """
    import numpy as np

    worst, place = 0.0, ""
    for table in theirs:
        matching = _matching(ours, theirs, table)
        if matching is None:
            return float("inf"), f"no table for texts of up to {table.length} tokens"
        for name in ("cos", "sin"):
            found = np.asarray(getattr(matching, name), np.float32)
            if len(found) <= table.positions[-1]:
                return float("inf"), f"{matching.name} ends at {len(found)} of {table.length}"
            wanted = getattr(table, name)[:, : found.shape[1]]
            apart = np.abs(found[table.positions] - wanted).max(axis=1)
            apart = np.where(np.isnan(apart), np.inf, apart)
            at = int(apart.argmax())
            if apart[at] >= worst:
                where = f"{name} at position {table.positions[at]} of {matching.name}"
                worst, place = float(apart[at]), where
    return worst, place


def _matching(
    ours: Sequence[GraphTable], theirs: Sequence[RotaryTable], table: RotaryTable
) -> GraphTable | None:
    """Return the graph's table that stands for one of the model's.

    DirectML's graphs hold both of a longrope model in one, the long one below the short one.
    """
    longest = max(theirs, key=lambda item: item.length)
    short = min(theirs, key=lambda item: item.length)
    both = short.length + longest.length
    for found in ours:
        rows = len(found.cos)
        if len(theirs) > 1 and rows >= both:
            first, end = (0, short.length) if table is short else (short.length, both)
            return GraphTable(found.name, found.cos[first:end], found.sin[first:end])
    if table is longest:
        return max(ours, key=lambda item: len(item.cos), default=None)
    return min(ours, key=lambda item: len(item.cos), default=None)
