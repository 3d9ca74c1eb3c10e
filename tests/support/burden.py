"""Adds work to every token of an ONNX Runtime GenAI model folder, without changing its result.

Usage: ``python burden.py FOLDER NUMBERS``, run by a toolchain's Python: so many numbers have their
hyperbolic tangent taken before the output layer.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper


def main(folder: Path, numbers: int) -> None:
    """Rewrite the graph."""
    path = folder / "model.onnx"
    model = onnx.load(str(path), load_external_data=False)
    head = next(node for node in model.graph.node if node.name.startswith("/lm_head/MatMul"))
    hidden = head.input[0]
    constants: dict[str, np.ndarray] = {
        "burden_shape": np.array([numbers], dtype=np.int64),
        "burden_factor": np.array(1e-30, dtype=np.float32),
    }
    for name, value in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    added = [
        helper.make_node("ReduceMax", [hidden], ["burden_one"], keepdims=0),
        helper.make_node("Expand", ["burden_one", "burden_shape"], ["burden_many"]),
        helper.make_node("Tanh", ["burden_many"], ["burden_done"]),
        helper.make_node("ReduceMax", ["burden_done"], ["burden_rest"], keepdims=0),
        helper.make_node("Mul", ["burden_rest", "burden_factor"], ["burden_tiny"]),
        helper.make_node("Add", [hidden, "burden_tiny"], ["burden_sum"]),
    ]
    for number, node in enumerate(added):
        node.name = f"burden_{number}"
    head.input[0] = "burden_sum"
    at = list(model.graph.node).index(head)
    rest = list(model.graph.node)[at:]
    del model.graph.node[at:]
    model.graph.node.extend([*added, *rest])
    path.unlink()  # it may be a link into a cache
    path.write_bytes(model.SerializeToString())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
