"""``python -m tests.benchmarks.scale.plain.adapter BASE OUT``: a LoRA adapter with random weights.

It is over all linear layers, and always the same.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

from pipeline.training.fingerprint import save_fingerprint

RANK = 16
SEED = 1
_SPREAD = 0.01


def main(base: str, out: str) -> None:
    """Write the adapter folder ``out``."""
    folder = Path(out)
    config = LoraConfig(
        r=RANK,
        lora_alpha=2 * RANK,
        target_modules=["qkv_proj", "o_proj", "gate_up_proj", "down_proj"],
        task_type="CAUSAL_LM",
        base_model_name_or_path="base",
    )
    with torch.device("meta"):
        model = get_peft_model(
            AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(base)), config
        )
    generator = torch.Generator().manual_seed(SEED)
    weights = {
        name: torch.empty(weight.shape).normal_(0, _SPREAD, generator=generator)
        for name, weight in get_peft_model_state_dict(model).items()
    }
    config.inference_mode = True
    config.save_pretrained(folder)
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    save_fingerprint(Path(base), folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
