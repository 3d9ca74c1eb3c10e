"""Which small models keep packed rows apart, by plain calls of transformers and by Quern.

``python -m tests.support.packings``, run by a toolchain's Python, prints one JSON object: for each
model how far a row's logits move when the row before it in the sequence is another, or is not
there, as multiples of their spread; and why Quern refuses to pack rows for it, if it does.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from pipeline.contract.errors import StepError
from pipeline.training.packing_fit import require_rows_apart

SIZES = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 256,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
MODELS: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen3": {"head_dim": 16},
    "gemma3_text": {"head_dim": 16},
    "gpt_oss": {"num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 16},
    "granitemoehybrid": {
        "layer_types": ["mamba", "attention"],
        "mamba_n_heads": 8,
        "mamba_d_head": 16,
        "mamba_n_groups": 1,
        "mamba_d_state": 16,
        "num_local_experts": 2,
        "num_experts_per_tok": 1,
    },
    "lfm2": {"layer_types": ["conv", "full_attention"], "block_multiple_of": 8},
    "bloom": {"n_head": 4, "n_layer": 2},
    "opt": {"ffn_dim": 128, "word_embed_proj_dim": 64},
}
ROW = 10


def model_of(kind: str) -> Any:
    """Return a small model with random weights."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **SIZES, **MODELS[kind])
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                weight.mul_(4)  # so that attention attends
    return model


def row(start: int) -> list[int]:
    """Return the ids of a row."""
    return [(start * 31 + place * 17) % 250 + 3 for place in range(ROW)]


def leak(model: Any) -> float:
    """Return how far the last row's logits move, by transformers alone."""
    last = row(3)
    said = []
    for before in (row(1), row(2), []):
        ids = torch.tensor([before + last])
        places = torch.tensor([[*range(len(before)), *range(ROW)]])
        with torch.no_grad():
            logits = model(input_ids=ids, position_ids=places, use_cache=False).logits
        said.append(logits[0, -ROW:])
    furthest = max(float((said[0] - other).abs().max()) for other in said[1:])
    return furthest / float(said[2].std())


if __name__ == "__main__":
    torch.set_num_threads(1)
    found: dict[str, dict[str, Any]] = {}
    for kind in MODELS:
        try:
            model = model_of(kind).eval()
            moved = leak(model)
        except (TypeError, ValueError, KeyError) as error:
            found[kind] = {"error": f"{type(error).__name__}: {error}"}
            continue
        refused = ""
        try:
            require_rows_apart(model)
        except StepError as error:
            refused = str(error)
        found[kind] = {"leak": moved, "refused": refused}
    print(json.dumps(found))  # noqa: T201 - the output of a script
