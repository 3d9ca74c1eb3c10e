"""Builds small models with many options of quantization, and asks what comes out.

Run by a toolchain's Python: ``python quantization_options.py CHECKPOINT OUT CASES``. ``CASES`` is
JSON: ``{NAME: {"tied": BOOL, "params": {...}}}`` with parameters of ``model_builder``. Writes
``OUT/found.json``: for each case ``{"distance": ..., "beside": ...}``, by how much the logits of
the artifact differ from those of transformers on the unquantized weights, and on the artifact's
own, relative to their norm, or ``{"error": ...}``.

The models' matrices have an odd number of blocks of 32 per row, and rows that end within a block of
64 or 128. Tokenizer and generation settings are those of ``CHECKPOINT``.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, LlamaConfig, LlamaForCausalLM

from pipeline.builder.build import build
from pipeline.builder.params import ModelBuilderParams
from pipeline.contract.errors import StepError
from pipeline.onnx.graph import OnnxModel
from pipeline.onnx.session import Session
from pipeline.training.own_weights import with_weights_of
from tests.support.beside_plain import WarningRecorder

IDS = [7, 80, 201, 33, 150, 399, 12, 268, 54, 311, 90, 177]


def main(checkpoint: Path, out: Path, cases: Mapping[str, Any]) -> None:
    """Build and ask."""
    models = {tied: _model(checkpoint, out / f"model-{tied}", tied) for tied in (True, False)}
    found = {}
    for name, case in cases.items():
        folder = out / "built"
        folder.mkdir()
        source, wanted = models[case["tied"]]
        try:
            params = ModelBuilderParams.model_validate(case["params"])
            report = WarningRecorder()
            build(source, folder, params, report)
            logits = Session(folder, threads=1, cpu=True).logits(IDS, len(IDS))
            own = with_weights_of(OnnxModel(folder / "model.onnx"), source)
            distance, beside = _distance(logits, wanted), _distance(logits, _logits(own))
            size = sum(file.stat().st_size for file in folder.glob("*.onnx*"))
            found[name] = {
                "distance": distance,
                "beside": beside,
                "bytes": size,
                "warnings": report.warnings,
            }
        except (StepError, ValueError) as error:
            found[name] = {"error": f"{type(error).__name__}: {error}"}
        shutil.rmtree(folder)
    (out / "found.json").write_text(json.dumps(found, indent=1), "utf-8")


def _model(checkpoint: Path, folder: Path, tied: bool) -> tuple[Path, Any]:
    """Write a model with random weights, and return its folder and its logits."""
    shutil.copytree(checkpoint, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    vocabulary = AutoConfig.from_pretrained(checkpoint).vocab_size
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=96,
            intermediate_size=160,
            num_hidden_layers=2,
            num_attention_heads=6,
            num_key_value_heads=2,
            max_position_embeddings=512,
            tie_word_embeddings=tied,
            initializer_range=0.1,
        )
    ).eval()
    model.save_pretrained(folder)
    return folder, _logits(model)


def _logits(model: Any) -> Any:
    with torch.no_grad():
        return model(torch.tensor([IDS])).logits[0].double().numpy()


def _distance(found: Any, wanted: Any) -> float:
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]))
