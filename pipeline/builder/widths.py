"""Has the builder quantize each matrix to the width that a pass chose for it.

Its quantizer takes widths by the names of nodes. What a node's matrix is made of says its name, as
:mod:`pipeline.onnx.origins` reads it.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pipeline.builder.matrices import quantizing_method, replaced
from pipeline.contract.errors import StepError
from pipeline.onnx.checkpoint import Checkpoint
from pipeline.onnx.origins import Origins
from pipeline.weights.widths import Widths

_BY_NODE = "int4_customized_weight_config"
"""The builder's table of widths, since onnxruntime_genai 0.14."""


@contextlib.contextmanager
def chosen_widths(widths: Widths | None, checkpoint: Checkpoint) -> Iterator[None]:
    """While entered, the builder's matrices have ``widths``; ``None`` changes nothing.

    The builder raises :class:`StepError` where it joins weights of several widths, leaves some out,
    or has no way to mix them.
    """
    if widths is None:
        yield
        return
    base = sys.modules["builders.base"]
    name = quantizing_method(base)
    plain: Callable[[Any], Any] = getattr(base.Model, name)

    def quantize(builder: Any) -> Any:
        _mix(builder, _by_node(builder.model.graph, widths, Origins(checkpoint)))
        return plain(builder)

    with replaced(base.Model, name, quantize):
        yield


def _by_node(graph: Any, widths: Widths, origins: Origins) -> dict[str, dict[str, int]]:
    """Return the width of each node of ``graph`` whose matrix has another than int4."""
    found: dict[str, dict[str, int]] = {}
    made: set[str] = set()
    for node in graph:
        weight = node.inputs[1] if node.op_type == "MatMul" and len(node.inputs) > 1 else None
        if weight is None or weight.const_value is None:
            continue
        tensors = {one.tensor for one in origins.of(str(weight.name), int(weight.shape[1]))}
        bits = {widths.bits.get(name) for name in tensors}
        made |= tensors
        if len(bits) > 1:
            raise StepError(f"the builder joins {', '.join(sorted(tensors))}, of several widths")
        if bits == {8}:
            found[str(node.name)] = {"bits": 8}
    left = sorted(set(widths.int8) - made)
    if left:
        raise StepError(
            f"the builder makes no matrix of {left[0]} that could be kept in int8",
            "leave it out of nodes_to_exclude of the model builder",
            "bad_input",
        )
    return found


def _mix(builder: Any, by_node: Mapping[str, Mapping[str, int]]) -> None:
    if hasattr(builder, _BY_NODE):
        setattr(builder, _BY_NODE, {**getattr(builder, _BY_NODE), **by_node})
        return
    method = builder.quant_attrs["int4"]["algo_config"]
    if method is None:
        raise StepError(
            "the builder of this target has one width for all matrices with algorithm default",
            "use algorithm k_quant or rtn",
            "bad_input",
        )
    method.customized_weight_config.update(by_node)
