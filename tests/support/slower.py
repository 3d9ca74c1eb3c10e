"""Makes an ONNX Runtime GenAI model folder slower on purpose. Run by a toolchain's Python.

Usage: ``python slower.py FOLDER PERCENT CPUS``: a copy of the folder gets nodes whose result does
not matter, as many as add that share to the time per token on the CPUs named. Prints how many.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime_genai as og
from onnx import helper, numpy_helper

_PROMPT, _TOKENS, _ANSWERS = 16, 16, 200
_TRIAL = 40


def main(folder: Path, percent: float) -> int:
    """Calibrate by a trial, then add what is asked for; return the number of nodes."""
    before = (folder / "model.onnx").read_bytes()
    first = og.Model(str(folder))
    slow_down(folder, before, _TRIAL)
    second = og.Model(str(folder))
    # In turn, and the least of many: load only ever adds to a time.
    pairs = [(token_ms(first), token_ms(second)) for _ in range(_ANSWERS)]
    alone = min(pair[0] for pair in pairs)
    each = (min(pair[1] for pair in pairs) - alone) / _TRIAL
    count = round(percent / 100 * alone / each)
    slow_down(folder, before, count)
    return count


def slow_down(folder: Path, graph: bytes, nodes: int) -> None:
    """Write ``graph`` with so many nodes more before its output layer."""
    model = onnx.load_from_string(graph)
    head = next(node for node in model.graph.node if node.name.startswith("/lm_head/MatMul"))
    hidden = head.input[0]
    tiny = np.array(1e-30, dtype=np.float32)
    model.graph.initializer.append(numpy_helper.from_array(tiny, "idle_factor"))
    added = []
    value = hidden
    for number in range(nodes):
        name = f"idle_{number}"
        added.append(helper.make_node("Tanh", [value], [name], name=name))
        value = name
    added.append(helper.make_node("Mul", [value, "idle_factor"], ["idle_rest"], name="idle_mul"))
    added.append(helper.make_node("Add", [hidden, "idle_rest"], ["idle_sum"], name="idle_add"))
    head.input[0] = "idle_sum"
    at = list(model.graph.node).index(head)
    rest = list(model.graph.node)[at:]
    del model.graph.node[at:]
    model.graph.node.extend([*added, *rest])
    (folder / "model.onnx").unlink()  # it may be a link into a cache
    (folder / "model.onnx").write_bytes(model.SerializeToString())


def token_ms(model: Any) -> float:
    """Return the median time per token of one answer."""
    params = og.GeneratorParams(model)
    length = _PROMPT + _TOKENS
    params.set_search_options(max_length=length, min_length=length, do_sample=False)
    generator = og.Generator(model, params)
    generator.append_tokens(np.arange(5, 5 + _PROMPT, dtype=np.int32))
    generator.generate_next_token()
    times = []
    while not generator.is_done():
        started = time.perf_counter()
        generator.generate_next_token()
        times.append(time.perf_counter() - started)
    return 1000 * statistics.median(times)


if __name__ == "__main__":
    os.sched_setaffinity(0, {int(cpu) for cpu in sys.argv[3].split(",")})
    sys.stdout.write(f"{main(Path(sys.argv[1]), float(sys.argv[2]))}\n")
