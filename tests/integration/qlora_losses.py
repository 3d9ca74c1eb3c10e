"""Measures losses with plain transformers, peft and bitsandbytes. Run by a toolchain's Python.

Usage: ``python qlora_losses.py BASE ADAPTER TONES MERGED...`` prints one JSON object: the mean loss
over the conversations in the JSON Lines file ``TONES``, for the adapter over the base loaded in NF4
(``unmerged``) and for each merged checkpoint (by its path). Prompts count too: they were not
trained on, so their loss is not near nought, and the smallest change of the weights shows in it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig


def unmerged(base: Path, adapter: Path) -> Any:
    """Return the model as QLoRA trains it: the adapter beside NF4 weights."""
    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
        llm_int8_skip_modules=["lm_head"],
    )
    model = AutoModelForCausalLM.from_pretrained(
        base, dtype=torch.float32, quantization_config=quantization, device_map={"": "cpu"}
    )
    # Without gradients bitsandbytes may compute in bf16 on CPUs that can; training does not.
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return PeftModel.from_pretrained(model, adapter).eval()


def mean_loss(model: Any, tokenizer: Any, rows: list[dict[str, str]]) -> float:
    """Return the mean cross-entropy per token, in nats."""
    total, count = 0.0, 0
    for row in rows:
        turns = [{"role": "user", "content": row["phrase"]}]
        prompt = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        before = tokenizer.encode(prompt, add_special_tokens=False)
        after = tokenizer.encode(row["tone"] + "<|end|>", add_special_tokens=False)
        ids = torch.tensor([before + after])
        with torch.inference_mode():
            loss = model(input_ids=ids, labels=ids).loss
        predicted = ids.numel() - 1
        total += float(loss) * predicted
        count += predicted
    return total / count


def main(base: Path, adapter: Path, tones: Path, merged: list[Path]) -> None:
    """Print the losses."""
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(base)
    rows = [json.loads(line) for line in tones.read_text("utf-8").splitlines()]
    losses = {"unmerged": mean_loss(unmerged(base, adapter), tokenizer, rows)}
    for folder in merged:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        losses[str(folder)] = mean_loss(model, tokenizer, rows)
    print(json.dumps(losses))  # noqa: T201 - the output of a script


if __name__ == "__main__":
    first, second, third, *others = map(Path, sys.argv[1:])
    main(first, second, third, others)
