"""``python -m tests.benchmarks.scale.plain.merge BASE ADAPTER OUT``: merge as PEFT's users do.

In fp32, the result in the base's number format, and with the same products on every CPU, as Quern
merges.
"""

from __future__ import annotations

import sys

import torch
from peft import PeftModel
from transformers import AutoConfig, AutoModelForCausalLM

from pipeline.weights.arithmetic import SameBits


def main(base: str, adapter: str, out: str) -> None:
    """Merge and save."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    adapted = PeftModel.from_pretrained(model, adapter)
    with SameBits():
        merged = adapted.merge_and_unload(safe_merge=True)
    merged.to(AutoConfig.from_pretrained(base).dtype).save_pretrained(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
