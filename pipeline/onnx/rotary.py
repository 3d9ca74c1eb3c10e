"""Tables of rotary position embeddings: those of a model, and those stored in a graph.

Row ``p`` of a table holds ``s cos(p f_i)`` or ``s sin(p f_i)`` for each frequency ``f_i``, with
``s`` for the model's attention scaling, which is usually 1 (RoPE, arXiv 2104.09864). A model with
one set of frequencies has one table. A longrope model has two, and uses the second one for texts
that are longer than its original context.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.onnx.graph import OnnxModel

_OPERANDS = {"GroupQueryAttention": (7, 8), "RotaryEmbedding": (2, 3), "PagedAttention": (7, 8)}
"""Per operator, the indices of its inputs that are the tables of cosines and of sines."""
_EVENLY = 512
_AROUND = 2048
"""Beyond this position wrong tables have been observed, so it is saved with its neighbours."""


@dataclass(frozen=True)
class RotaryTable:
    """Selected rows of a model's table."""

    length: int
    """Length in tokens of the longest text that the model uses the table for."""
    positions: Any
    """Numbers of the selected rows, int64, ascending."""
    cos: Any
    """Shape (positions, frequencies), float32, attention scaling included."""
    sin: Any


@dataclass(frozen=True)
class GraphTable:
    """A table in the graph. ``cos`` and ``sin`` have the shape (positions, frequencies)."""

    name: str
    cos: Any
    sin: Any


def sampled_positions(length: int) -> Any:
    """Return which positions of a table with ``length`` rows are saved, ascending.

    They are the first 16, those around :data:`_AROUND`, the last, and :data:`_EVENLY` evenly spaced
    ones.
    """
    import numpy as np

    near = np.arange(_AROUND - 8, _AROUND + 65)
    evenly = np.linspace(0, length - 1, min(_EVENLY, length))
    every = np.concatenate([np.arange(16), near, evenly.astype(np.int64), [length - 1]])
    return np.unique(every[every < length])


def every_position(length: int) -> Any:
    """Return all positions of a table with ``length`` rows."""
    import numpy as np

    return np.arange(length)


def graph_tables(model: OnnxModel) -> list[GraphTable]:
    """Return the tables that the attention layers of ``model`` read, without duplicates."""
    names: dict[tuple[str, str], None] = {}
    for node in model.of_type(*_OPERANDS):
        cos, sin = _OPERANDS[node.op_type]
        if len(node.input) > sin and node.input[cos]:
            names[node.input[cos], node.input[sin]] = None
    return [table for cos, sin in names for table in _tables(model, cos, sin)]


def _tables(model: OnnxModel, cos: str, sin: str) -> Iterator[GraphTable]:
    """Yield the tables with these names: initializers, or the constants of an ``If``'s branches."""
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
    """Return ``max |ours - theirs|`` over all saved rows, and where that maximum is, in words.

    ``ours`` are the graph's tables, ``theirs`` the model's. Cosines and sines are at most 1 (times
    the attention scaling). For a table that is missing or too short, the difference is infinite.
    """
    if len({table.length for table in theirs}) < len(theirs):
        # One for each kind of layer, in no order: each has to be there.
        return max(min(_error(one, table) for one in ours) for table in theirs)
    found = [(_matching(ours, theirs, table), table) for table in theirs]
    lacking = next((table for one, table in found if one is None), None)
    if lacking is not None:
        return float("inf"), f"no table for texts of up to {lacking.length} tokens"
    return max(_error(one, table) for one, table in found if one is not None)


def _error(ours: GraphTable, theirs: RotaryTable) -> tuple[float, str]:
    """Return the largest difference of the two tables, and where it is, in words."""
    import numpy as np

    worst, place = 0.0, ""
    for name in ("cos", "sin"):
        found = np.asarray(getattr(ours, name), np.float32)
        if len(found) <= theirs.positions[-1]:
            return float("inf"), f"{ours.name} ends at {len(found)} of {theirs.length}"
        wanted = getattr(theirs, name)[:, : found.shape[1]]
        apart = np.abs(found[theirs.positions] - wanted).max(axis=1)
        apart = np.where(np.isnan(apart), np.inf, apart)
        at = int(apart.argmax())
        if apart[at] >= worst:
            where = f"{name} at position {theirs.positions[at]} of {ours.name}"
            worst, place = float(apart[at]), where
    return worst, place


def _matching(
    ours: Sequence[GraphTable], theirs: Sequence[RotaryTable], table: RotaryTable
) -> GraphTable | None:
    """Return the graph's table that corresponds to ``table``; ``None`` if there are none.

    Graphs for DirectML store both tables of a longrope model in one: the rows of the short one,
    then those of the long one.
    """
    longest = max(theirs, key=lambda item: item.length)
    short = min(theirs, key=lambda item: item.length)
    both = short.length + longest.length
    for candidate in ours:
        rows = len(candidate.cos)
        if len(theirs) > 1 and rows >= both:
            first, end = (0, short.length) if table is short else (short.length, both)
            return GraphTable(candidate.name, candidate.cos[first:end], candidate.sin[first:end])
    if table is longest:
        return max(ours, key=lambda item: len(item.cos), default=None)
    return min(ours, key=lambda item: len(item.cos), default=None)
