"""Builds small models of several families with some matrices in int8, and compares.

Run by a toolchain's Python: ``python mixed_models.py TINY OUT PROVIDER...``. ``TINY`` is the folder
of ``tiny_model.py``. Writes ``OUT/found.json``: for each model and provider what is wrong with the
graph's widths, how many of its matrices are in int8, and for the CPU by how much the artifact's
logits differ from those of transformers on its own weights, relative to their norm.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch

from pipeline.builder.build import build
from pipeline.builder.params import ModelBuilderParams
from pipeline.contract.step import Inputs
from pipeline.onnx.checkpoint import Checkpoint
from pipeline.onnx.chosen_widths import width_problems
from pipeline.onnx.graph import OnnxModel
from pipeline.onnx.quantized import linear_layers
from pipeline.training.mixed_params import MixedPrecisionParams
from pipeline.training.mixed_precision import choose_widths
from pipeline.weights.widths import Widths
from tests.support.beside_plain import WarningRecorder
from tests.support.rounded_models import MODELS, beside


def main(tiny: Path, out: Path, providers: list[str]) -> None:
    """Choose, build and compare."""
    found: dict[str, dict[str, Any]] = {}
    for name in ("llama", "qwen2"):
        model, widths = out / name, out / f"{name}-widths"
        torch.manual_seed(0)
        shutil.copytree(tiny / "checkpoint", model, ignore=shutil.ignore_patterns("*.safetensors"))
        MODELS[name]().eval().save_pretrained(model)
        widths.mkdir()
        inputs = Inputs({"model": model}, None, 0, 2, WarningRecorder())
        params = MixedPrecisionParams.model_validate({"choose": "k_quant_mixed"})
        choose_widths(inputs, params, widths)
        for provider in providers:
            folder = out / f"{name}-{provider}"
            folder.mkdir()
            built = ModelBuilderParams(execution_provider=provider, algorithm="k_quant")
            build(model, folder, built, WarningRecorder(), widths=widths)
            graph = OnnxModel(folder / "model.onnx")
            facts = found.setdefault(f"{name} {provider}", {})
            facts["problems"] = width_problems(graph, Checkpoint(model), Widths.load(widths))
            facts["int8"] = sorted(
                layer.node.split("/MatMul")[0] for layer in linear_layers(graph) if layer.bits == 8
            )
            if provider == "cpu":
                facts["beside"] = beside(folder, graph, model)
    (out / "found.json").write_text(json.dumps(found, indent=1), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
