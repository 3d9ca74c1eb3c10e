"""Olive files that round before ModelBuilder, built whole; weights compared with PyTorch's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.support.quick_builds import report_of
from tests.support.warm_builds import warm_build
from tests.support.warm_process import warm_code
from tests.support.warm_runtime import WarmRuntime

BLOCK = 32
# What Olive's Rtn stands for, without anything of Quern or Olive: the numbers of each matrix after
# each block of a row was rounded to 16 (or 256) equal steps from its smallest to its largest.
ROUNDED = """
import sys
import numpy as np
import torch
from safetensors.torch import load_file

weights = load_file(sys.argv[1] + "/model.safetensors")
found = {}
for name, weight in weights.items():
    if weight.dim() != 2:
        continue
    bits = 8 if name in sys.argv[3:] else 4
    blocks = weight.float().reshape(weight.shape[0], -1, 32)
    low, high = blocks.amin(-1, keepdim=True), blocks.amax(-1, keepdim=True)
    step = (high - low) / (2**bits - 1)
    zero = torch.round(-low / step)
    whole = torch.clamp(torch.round(blocks / step) + zero, 0, 2**bits - 1)
    found[name] = ((whole - zero) * step).reshape(weight.shape).numpy()
np.savez(sys.argv[2], **found)
"""


def recipe(model: Path, **passes: Any) -> dict[str, Any]:
    return {
        "input_model": {"type": "HfModel", "model_path": str(model)},
        "systems": {
            "local_system": {
                "type": "LocalSystem",
                "accelerators": [
                    {"device": "cpu", "execution_providers": ["CPUExecutionProvider"]}
                ],
            }
        },
        "passes": {**passes, "m": {"type": "ModelBuilder", "precision": "int4"}},
        "target": "local_system",
        "output_dir": "model",
    }


def unpacked(values: Any, bits: int) -> Any:
    """Return the numbers in the bytes of each row, the first in the low bits."""
    rows = values.reshape(len(values), -1)
    return rows if bits == 8 else np.stack([rows & 15, rows >> 4], axis=2).reshape(len(rows), -1)


def matrices(folder: Path) -> dict[str, tuple[int, Any]]:
    """Return the width and the numbers of each matrix in a graph, by the name of its node."""
    model = onnx.load(str(folder / "model.onnx"))
    stored = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    found = {}
    for node in model.graph.node:
        if node.op_type != "MatMulNBits":
            continue
        facts = {one.name: one.i for one in node.attribute}
        bits, blocks = facts["bits"], facts["K"] // BLOCK
        values, scales, zeros = (stored[name] for name in node.input[1:4])
        rows = facts["N"]
        numbers = unpacked(values, bits).reshape(rows, blocks, BLOCK).astype(np.float32)
        zero = unpacked(zeros.reshape(rows, -1), bits)[:, :blocks, None].astype(np.float32)
        whole = (numbers - zero) * scales.reshape(rows, blocks, 1)
        found[node.name.split("/MatMul")[0]] = (bits, whole.reshape(rows, -1))
    return found


def build(folder: Path, raw: dict[str, Any], cache: Path, runtime: WarmRuntime) -> Any:
    """Build an Olive file; return its report, in which nothing has failed."""
    file = folder / "rounded.json"
    file.write_text(json.dumps(raw), "utf-8")
    assert warm_build(file, folder / "dist", cache, runtime) == 0
    return report_of(folder / "dist", "rounded")


@pytest.mark.parametrize("head", [4, pytest.param(8, marks=pytest.mark.slow)])
def test_rtn_gives_the_weights_that_pytorch_rounds(
    tmp_path: Path,
    tiny: Path,
    toolchain_python: Path,
    cache_dir: Path,
    warm_runtime: WarmRuntime,
    head: int,
) -> None:
    model = tiny / "checkpoint"
    rounding = {
        "type": "Rtn",
        "bits": 4,
        "group_size": BLOCK,
        "sym": False,
        "lm_head": True,
        "embeds": True,
        "overrides": {"lm_head": {"bits": head}},
    }
    build(tmp_path, recipe(model, r=rounding), cache_dir, warm_runtime)
    expected = tmp_path / "expected.npz"
    wide = ["lm_head.weight"] if head == 8 else []
    warm_code(toolchain_python, ROUNDED, str(model), str(expected), *wide)
    theirs = np.load(expected)
    ours = matrices(tmp_path / "dist" / "rounded" / "cpu" / "model")
    assert len(ours) == 2 * len(("qkv", "o", "gate", "up", "down")) + 1
    assert ours["/lm_head"][0] == head
    names = {"/lm_head": ("lm_head.weight", 0)}
    for layer in range(2):
        ours_at, theirs_at = f"/model/layers.{layer}", f"model.layers.{layer}"
        for node, tensor, first in (
            ("attn/qkv_proj", "self_attn.qkv_proj", 0),
            ("attn/o_proj", "self_attn.o_proj", 0),
            ("mlp/gate_proj", "mlp.gate_up_proj", 0),
            ("mlp/up_proj", "mlp.gate_up_proj", 192),
            ("mlp/down_proj", "mlp.down_proj", 0),
        ):
            names[f"{ours_at}/{node}"] = (f"{theirs_at}.{tensor}.weight", first)
    assert names.keys() == ours.keys()
    for node, (tensor, first) in names.items():
        bits, numbers = ours[node]
        assert bits == (head if node == "/lm_head" else 4)
        rounded = theirs[tensor][first : first + len(numbers)]
        # A number between two steps may go either way; none is off by more than its step.
        wrong = np.abs(numbers - rounded) > 1e-6
        assert wrong.mean() < 1e-4, node


@pytest.mark.slow
def test_the_shape_of_public_recipes_is_built_and_proven(
    tmp_path: Path, tiny: Path, cache_dir: Path, warm_runtime: WarmRuntime
) -> None:
    size = {"sym": False, "group_size": BLOCK}
    widths = {"lm_head": {"bits": 8}, "model.embed_tokens": {"bits": 8}}
    raw = recipe(
        tiny / "checkpoint",
        s={"type": "SelectiveMixedPrecision", "algorithm": "kld_gradient", "ratio": 0.7, **size},
        g={"type": "gptq", "bits": 4, **size},
        r={"type": "rtn", "bits": 8, "lm_head": True, "embeds": True, "overrides": widths, **size},
    )
    report = build(tmp_path, raw, cache_dir, warm_runtime)
    found = {one["name"]: one["status"] for one in report["checks"]}
    assert found["chosen_integers"] == found["chosen_widths"] == found["same_weights"] == "passed"
    (chosen,) = [step for step in report["passes"] if step["type"] == "mixed_precision"]
    assert chosen["metrics"]["share"] > 0.3  # 0.3, and the output layer
    ours = matrices(tmp_path / "dist" / "rounded" / "cpu" / "model")
    assert ours["/lm_head"][0] == 8
    assert {bits for bits, _ in ours.values()} == {4, 8}
