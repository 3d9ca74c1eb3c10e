"""``python -m tests.benchmarks.scale.plain.speed MODEL PROMPT NEW RUNS``: tokens per second.

Prints one JSON object: the best of the runs for the prompt and for the tokens after it, and the
bytes of weights that a token reads. A short prompt first, so that what is made once is not timed.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import onnxruntime_genai as og

from pipeline.onnx.genai_config import GenAiConfig
from pipeline.onnx.graph import OnnxModel


def main(folder: str, prompt: int, new: int, runs: int) -> None:
    """Measure and print."""
    model = og.Model(folder)
    graph = OnnxModel(Path(folder) / GenAiConfig(Path(folder)).filename)
    list(_rates(model, 8, 4))
    rates = [tuple(_rates(model, prompt, new)) for _ in range(runs)]
    best = {
        "prompt": max(rate[0] for rate in rates),
        "decode": max(rate[1] for rate in rates),
        "weights_bytes": graph.bytes_per_token,
    }
    sys.stdout.write(json.dumps(best) + "\n")


def _rates(model: og.Model, prompt: int, new: int) -> Iterator[float]:
    """Yield tokens per second of the prompt, with its first answer, and of ``new`` more."""
    params = og.GeneratorParams(model)
    params.set_search_options(max_length=prompt + new + 1, min_length=prompt + new + 1)
    generator = og.Generator(model, params)
    began = time.perf_counter()
    generator.append_tokens([100 + index % 1000 for index in range(prompt)])
    generator.generate_next_token()
    yield prompt / (time.perf_counter() - began)
    began = time.perf_counter()
    for _ in range(new):
        generator.generate_next_token()
    yield new / (time.perf_counter() - began)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
