"""Scales small models of several families by AWQ, and looks at them with transformers alone.

Run by a toolchain's Python: ``python scaled_models.py TINY OUT``. ``TINY`` is the folder of
``tiny_model.py``. Writes ``OUT/found.json``: for each model what the pass said of its matrices, by
how much the logits of what it wrote differ from those before, relative to their norm, and by how
much rounding each matrix by itself changes its products with its inputs on the rows that the pass
looked at, before and after.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from pipeline.contract.data_files import DataFiles
from pipeline.contract.data_spec import DataSpec
from pipeline.contract.step import Inputs
from pipeline.data.tokenize import Codec
from pipeline.training.awq import scale_model
from pipeline.training.awq_params import AwqParams
from pipeline.training.calibration_rows import calibration_rows
from tests.support.beside_plain import WarningRecorder

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
LAYERS = ["sliding_attention", "full_attention"]
BLOCK = AwqParams().block_size


def gemma() -> Any:
    return Gemma3ForCausalLM(Gemma3TextConfig(**SHAPE, **WINDOWS, layer_types=LAYERS))


MODELS: dict[str, Callable[[], Any]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE, tie_word_embeddings=True)),
    "llama_bf16": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE)).to(torch.bfloat16),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SHAPE)),
    "gemma3": gemma,
    "gemma3_bf16": lambda: gemma().to(torch.bfloat16),
    "phi": lambda: PhiForCausalLM(PhiConfig(**{**SHAPE, "num_key_value_heads": 4})),
    "mixtral": lambda: MixtralForCausalLM(MixtralConfig(**SHAPE, num_local_experts=4)),
    "phi3": lambda: None,  # the tiny model itself
}


def main(tiny: Path, out: Path) -> None:
    """Scale and look."""
    spec = DataSpec(path="tones.jsonl", prompt="{phrase}", completion="{tone}", label="tone")
    data = DataFiles("tones", spec, (tiny / "tones.jsonl",))
    found = {}
    for name, make in MODELS.items():
        before, after = out / name, out / f"{name}-scaled"
        torch.manual_seed(0)
        kept = None if name == "phi3" else shutil.ignore_patterns("*.safetensors")
        shutil.copytree(tiny / "checkpoint", before, ignore=kept)
        if name != "phi3":
            _uneven(make().eval()).save_pretrained(before)
        after.mkdir()
        inputs = Inputs({"model": before}, data, 0, 2, WarningRecorder())
        # Symmetric, as it is easily computed otherwise.
        made = scale_model(inputs, AwqParams(symmetric=True), after)
        codec = Codec(AutoTokenizer.from_pretrained(before))
        rows = [torch.tensor([ids]) for ids in calibration_rows(inputs, codec, 256, 512)]
        right, errors = _look(before, rows)
        logits, fewer = _look(after, rows)
        found[name] = {
            "matrices": made["matrices"],
            "not_scaled": made["not_scaled"],
            "said": made["errors"],
            "difference": float((logits - right).norm() / right.norm()),
            "errors": {matrix: [fewer[matrix], errors[matrix]] for matrix in errors},
            "factors": _largest_factor(before, after),
        }
    (out / "found.json").write_text(json.dumps(found, indent=1), "utf-8")


def _uneven(model: Any) -> Any:
    """Give some channels larger numbers, as trained models have them."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name and weight.dim() == 1:
                weight.mul_(torch.exp(torch.randn_like(weight) * 0.7))
    return model


def _look(folder: Path, rows: list[torch.Tensor]) -> tuple[torch.Tensor, dict[str, float]]:
    """Return the logits of a checkpoint, and by how much rounding would change the products of each
    matrix in its layers."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    sums: dict[str, list[float]] = {}

    def look(name: str) -> Callable[..., None]:
        def hook(module: torch.nn.Linear, arguments: tuple[torch.Tensor, ...]) -> None:
            weight = module.weight.detach()
            of = sums.setdefault(name, [0.0, 0.0])
            of[0] += float((arguments[0] @ (_rounded(weight) - weight).T).double().square().sum())
            of[1] += float((arguments[0] @ weight.T).double().square().sum())

        return hook

    for name, module in model.named_modules():
        in_layer = isinstance(module, torch.nn.Linear) and ".layers." in name
        if in_layer and module.in_features % BLOCK == 0:
            module.register_forward_pre_hook(look(f"{name}.weight"))
    with torch.no_grad():
        logits = torch.cat([model(row).logits[0] for row in rows])
    return logits, {name: (error / whole) ** 0.5 for name, (error, whole) in sums.items()}


def _rounded(weight: torch.Tensor) -> torch.Tensor:
    """Return ``weight`` in int4: blocks of inputs, the weight of largest magnitude becomes -8."""
    blocks = weight.reshape(len(weight), -1, BLOCK)
    furthest = blocks.gather(2, blocks.abs().argmax(2, keepdim=True))
    scale = torch.where(furthest == 0, torch.ones_like(furthest), furthest / -8)
    return ((blocks / scale).round().clamp(-8, 7) * scale).reshape(weight.shape)


def _largest_factor(before: Path, after: Path) -> float:
    """Return the largest factor between weights of the two."""
    one, other = (
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).state_dict()
        for folder in (before, after)
    )
    matrices = [name for name, weight in one.items() if weight.dim() == 2]
    ratios = [(other[name] / one[name])[one[name] != 0] for name in matrices]
    return max(float(ratio.abs().max()) for ratio in ratios)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
