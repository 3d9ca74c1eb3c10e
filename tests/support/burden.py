"""Adds work to every token of an ONNX Runtime GenAI model folder, without changing its result.

Usage: ``python burden.py FOLDER MILLISECONDS CPUS``, run by a toolchain's Python: as many numbers
have their hyperbolic tangent taken before the output layer as one thread needs that long for on
the CPUs named. Prints how many.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import NodeProto, TensorProto, helper, numpy_helper

_TRIAL, _TRIALS = 1_000_000, 20


def main(folder: Path, milliseconds: float) -> int:
    """Calibrate by a trial, then rewrite the graph; return how many numbers there are."""
    numbers = round(_TRIAL * milliseconds / trial_ms())
    path = folder / "model.onnx"
    model = onnx.load(str(path), load_external_data=False)
    head = next(node for node in model.graph.node if node.name.startswith("/lm_head/MatMul"))
    model.graph.initializer.extend(constants(numbers))
    at = list(model.graph.node).index(head)
    rest = list(model.graph.node)[at:]
    del model.graph.node[at:]
    model.graph.node.extend([*burden(head.input[0]), *rest])
    head.input[0] = "burden_sum"
    path.unlink()  # it may be a link into a cache
    path.write_bytes(model.SerializeToString())
    return numbers


def constants(numbers: int) -> list[TensorProto]:
    """Return what the nodes read."""
    return [
        numpy_helper.from_array(np.array([numbers], dtype=np.int64), "burden_shape"),
        numpy_helper.from_array(np.array(1e-30, dtype=np.float32), "burden_factor"),
    ]


def burden(value: str) -> list[NodeProto]:
    """Return nodes that make ``burden_sum`` of ``value``, which differ by next to nothing."""
    nodes = [
        helper.make_node("ReduceMax", [value], ["burden_one"], keepdims=0),
        helper.make_node("Expand", ["burden_one", "burden_shape"], ["burden_many"]),
        helper.make_node("Tanh", ["burden_many"], ["burden_done"]),
        helper.make_node("ReduceMax", ["burden_done"], ["burden_rest"], keepdims=0),
        helper.make_node("Mul", ["burden_rest", "burden_factor"], ["burden_tiny"]),
        helper.make_node("Add", [value, "burden_tiny"], ["burden_sum"]),
    ]
    for number, node in enumerate(nodes):
        node.name = f"burden_{number}"
    return nodes


def trial_ms() -> float:
    """Return how long the nodes take for the trial's numbers, at best: load only adds to a time."""
    hidden, total = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1])
        for name in ("hidden", "burden_sum")
    )
    graph = helper.make_graph(burden("hidden"), "trial", [hidden], [total], constants(_TRIAL))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options)
    times = []
    for _ in range(_TRIALS):
        started = time.perf_counter()
        session.run(None, {"hidden": np.ones(1, dtype=np.float32)})
        times.append(time.perf_counter() - started)
    return 1000 * min(times)


if __name__ == "__main__":
    os.sched_setaffinity(0, {int(cpu) for cpu in sys.argv[3].split(",")})
    sys.stdout.write(f"{main(Path(sys.argv[1]), float(sys.argv[2]))}\n")
