"""Measures losses of a LoftQ adapter without Quern's code. Run by a toolchain's Python.

Usage: ``python -m tests.integration.loftq_losses BASE ADAPTER TONES ITERATIONS MERGED...`` prints
one JSON object: the mean loss as ``qlora_losses.py`` measures it, for the adapter beside the 4-bit
base that LoftQ's published algorithm (a singular value decomposition per iteration, arXiv
2310.08659) leads to (``unmerged``), and for each merged checkpoint (by its path).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit
from peft import PeftModel
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.integration.qlora_losses import mean_loss


def in_4_bits(weight: torch.Tensor) -> torch.Tensor:
    """Return ``weight`` as NF4 holds it."""
    return dequantize_4bit(*quantize_4bit(weight.contiguous(), quant_type="nf4"))


def loftq_base(weight: torch.Tensor, rank: int, iterations: int) -> torch.Tensor:
    """Return the base after ``iterations``."""
    base = in_4_bits(weight)
    for _ in range(iterations - 1):
        u, s, v = torch.linalg.svd(weight - base, full_matrices=False)
        base = in_4_bits(weight - (u[:, :rank] * s[:rank]) @ v[:rank])
    return base


def unmerged(base: Path, adapter: Path, iterations: int) -> Any:
    """Return the model as it is trained: the adapter beside the base."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    rank = json.loads((adapter / "adapter_config.json").read_text("utf-8"))["r"]
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and name != "lm_head":
            module.weight.data = loftq_base(module.weight.data, rank, iterations)
    return PeftModel.from_pretrained(model, adapter).eval()


def main(base: Path, adapter: Path, tones: Path, iterations: int, merged: list[Path]) -> None:
    """Print the losses."""
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(base)
    rows = [json.loads(line) for line in tones.read_text("utf-8").splitlines()]
    losses = {"unmerged": mean_loss(unmerged(base, adapter, iterations), tokenizer, rows)}
    for folder in merged:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        losses[str(folder)] = mean_loss(model, tokenizer, rows)
    print(json.dumps(losses))  # noqa: T201 - the output of a script


if __name__ == "__main__":
    first, second, third, count, *others = sys.argv[1:]
    main(Path(first), Path(second), Path(third), int(count), list(map(Path, others)))
