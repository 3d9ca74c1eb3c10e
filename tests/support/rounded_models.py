"""Rounds small models of several families by GPTQ, builds them for each provider, and compares.

Run by a toolchain's Python: ``python rounded_models.py TINY OUT``. ``TINY`` is the folder of
``tiny_model.py``. Writes ``OUT/found.json``: for each model how many matrices were rounded, for
each provider where the graph's integers are others, and by how much the logits of the CPU's
artifact differ from those of transformers on its own weights, relative to their norm.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from pipeline.builder.build import build
from pipeline.builder.params import ModelBuilderParams
from pipeline.contract.data_files import DataFiles
from pipeline.contract.data_spec import DataSpec
from pipeline.contract.step import Inputs
from pipeline.onnx.chosen_integers import integer_differences
from pipeline.onnx.graph import OnnxModel
from pipeline.onnx.session import Session
from pipeline.training.gptq import round_model
from pipeline.training.gptq_params import GptqParams
from pipeline.training.own_weights import with_weights_of
from tests.support.beside_plain import WarningRecorder

IDS = [7, 80, 201, 33, 150, 399, 12, 268, 54, 311, 90, 177]
SHAPE: dict[str, Any] = {
    "vocab_size": 448,
    "hidden_size": 128,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.1,
}
WINDOWS = {"head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 64}
MODELS: dict[str, Callable[[], Any]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE, tie_word_embeddings=True)),
    "llama_bf16": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE)).to(torch.bfloat16),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SHAPE)),
    "gemma3": lambda: Gemma3ForCausalLM(
        Gemma3TextConfig(**SHAPE, **WINDOWS, layer_types=["sliding_attention", "full_attention"])
    ),
}
PROVIDERS = ("cpu", "cuda", "dml")


def main(tiny: Path, out: Path) -> None:
    """Round, build and compare."""
    spec = DataSpec(path="tones.jsonl", prompt="{phrase}", completion="{tone}", label="tone")
    data = DataFiles("tones", spec, (tiny / "tones.jsonl",))
    found = {}
    for name, make in MODELS.items():
        model, integers = out / name, out / f"{name}-integers"
        torch.manual_seed(0)
        shutil.copytree(tiny / "checkpoint", model, ignore=shutil.ignore_patterns("*.safetensors"))
        make().eval().save_pretrained(model)
        integers.mkdir()
        inputs = Inputs({"model": model}, data, 0, 2, WarningRecorder())
        made = round_model(inputs, GptqParams(), integers)
        facts: dict[str, Any] = {
            name: made[name] for name in ("matrices", "error", "nearest_error")
        }
        for provider in PROVIDERS:
            folder = out / f"{name}-{provider}"
            folder.mkdir()
            params = ModelBuilderParams(execution_provider=provider, algorithm="k_quant")
            build(model, folder, params, WarningRecorder(), integers=integers)
            graph = OnnxModel(folder / "model.onnx")
            facts[provider] = integer_differences(graph, model, integers)
            if provider == "cpu":
                facts["beside"] = beside(folder, graph, model)
        found[name] = facts
    (out / "found.json").write_text(json.dumps(found, indent=1), "utf-8")


def beside(folder: Path, graph: OnnxModel, model: Path) -> float:
    """Return by how much the artifact's logits differ from those of its own weights in PyTorch."""
    logits = Session(folder, threads=1, cpu=True).logits(IDS, len(IDS))
    with torch.no_grad():
        own = with_weights_of(graph, model)(torch.tensor([IDS])).logits[0].double().numpy()
    return float(np.linalg.norm(logits - own) / np.linalg.norm(own))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
