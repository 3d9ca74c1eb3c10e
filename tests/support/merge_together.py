"""Merges one layer in several threads at once. Run by a toolchain's Python.

Usage: ``python -m tests.support.merge_together`` prints how many of the merges gave another
result than one alone.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from pipeline.training.merged import _Layer

TIMES = 64


def main() -> None:
    """Merge, and count."""
    torch.manual_seed(0)
    adapter = LoraConfig(target_modules=["0"], init_lora_weights=False)
    model = get_peft_model(nn.Sequential(nn.Linear(512, 512)), adapter)
    merge = _Layer(model.base_model.model[0], "weight")
    alone = merge().clone()
    with ThreadPoolExecutor(8) as pool:
        same = list(pool.map(lambda _: torch.equal(merge(), alone), range(TIMES)))
    sys.stdout.write(f"{same.count(False)} differ\n")


if __name__ == "__main__":
    main()
