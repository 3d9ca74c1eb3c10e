"""Adapters as their users have them: made and saved by PEFT, by nothing of Quern.

Run by a toolchain's Python: ``python users_adapters.py CHECKPOINT OUT`` writes a folder for each.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from peft import LoHaConfig, LoKrConfig, LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

LAYERS = ["qkv_proj", "down_proj"]
KINDS = {
    "lora": LoraConfig(r=4, lora_alpha=16, target_modules=LAYERS, task_type="CAUSAL_LM"),
    "rslora": LoraConfig(r=8, use_rslora=True, target_modules="all-linear"),
    "patterns": LoraConfig(
        r=2, target_modules=LAYERS, rank_pattern={"down_proj": 6}, alpha_pattern={"qkv_proj": 3}
    ),
    "dora": LoraConfig(r=4, use_dora=True, target_modules=LAYERS),
    "whole": LoraConfig(r=4, target_modules=LAYERS, modules_to_save=["lm_head"]),
    "loha": LoHaConfig(r=4, alpha=8, target_modules=LAYERS),
    "lokr": LoKrConfig(r=4, alpha=8, target_modules=LAYERS, decompose_both=True),
}


def main(checkpoint: Path, out: Path) -> None:
    """Write the adapters, with weights that change what the model says."""
    for name, config in KINDS.items():
        torch.manual_seed(len(name))
        model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
        adapted = get_peft_model(model, config)
        for weight in adapted.parameters():
            if weight.requires_grad:
                weight.data += 0.02 * torch.randn_like(weight)
        adapted.save_pretrained(out / name)
        # What transformers' Trainer saves beside it.
        AutoTokenizer.from_pretrained(checkpoint).save_pretrained(out / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
