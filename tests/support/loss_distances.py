"""Measures how far models answer from an adapter beside its base, without Quern's code.

Usage: ``python -m tests.support.loss_distances BASE ADAPTER TONES OVER MODEL...``, run by a
toolchain's Python, prints one JSON object: for each checkpoint, by its path, the mean over all
tokens of the conversations in the JSON Lines file ``TONES`` of how much the token's loss (in nats)
differs from its loss where the adapter lies beside its base. Single tokens are compared because
differences of both signs cancel in the mean loss. Prompts count too: they were not trained on, so
their loss is not near nought, and the smallest change of the weights shows in it.

``OVER`` says what the adapter was trained over: ``plain`` for the base as it is, ``nf4`` for its
4-bit weights, a number for those that LoftQ's published algorithm (a singular value decomposition
per iteration, arXiv 2310.08659) leads to after so many iterations.
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
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig


def loaded(folder: Path, **options: Any) -> Any:
    """Return the model in fp32."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **options).eval()


def nf4_base(folder: Path) -> Any:
    """Return the model as QLoRA loads it."""
    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
        llm_int8_skip_modules=["lm_head"],
    )
    model = loaded(folder, quantization_config=quantization, device_map={"": "cpu"})
    # Without gradients bitsandbytes may compute in bf16 on CPUs that can; training does not.
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model


def in_4_bits(weight: torch.Tensor) -> torch.Tensor:
    """Return ``weight`` as NF4 holds it."""
    return dequantize_4bit(*quantize_4bit(weight.contiguous(), quant_type="nf4"))


def loftq_weight(weight: torch.Tensor, rank: int, iterations: int) -> torch.Tensor:
    """Return the base's weight after ``iterations``."""
    base = in_4_bits(weight)
    for _ in range(iterations - 1):
        u, s, v = torch.linalg.svd(weight - base, full_matrices=False)
        base = in_4_bits(weight - (u[:, :rank] * s[:rank]) @ v[:rank])
    return base


def loftq_base(folder: Path, rank: int, iterations: int) -> Any:
    """Return the model as LoftQ fits it."""
    model = loaded(folder)
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and name != "lm_head":
            module.weight.data = loftq_weight(module.weight.data, rank, iterations)
    return model


def unmerged(base: Path, adapter: Path, over: str) -> Any:
    """Return the model as it was trained: the adapter beside its base."""
    if over == "plain":
        model = loaded(base)
    elif over == "nf4":
        model = nf4_base(base)
    else:
        rank = json.loads((adapter / "adapter_config.json").read_text("utf-8"))["r"]
        model = loftq_base(base, rank, int(over))
    return PeftModel.from_pretrained(model, adapter).eval()


def token_losses(model: Any, tokenizer: Any, rows: list[dict[str, str]]) -> torch.Tensor:
    """Return the cross-entropy of every token after the first of its conversation, in nats."""
    losses = []
    for row in rows:
        turns = [{"role": "user", "content": row["phrase"]}]
        prompt = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        before = tokenizer.encode(prompt, add_special_tokens=False)
        after = tokenizer.encode(row["tone"] + "<|end|>", add_special_tokens=False)
        ids = torch.tensor(before + after)
        with torch.inference_mode():
            logits = model(input_ids=ids[None]).logits[0, :-1]
        losses.append(nn.functional.cross_entropy(logits.double(), ids[1:], reduction="none"))
    return torch.cat(losses)


def main(base: Path, adapter: Path, tones: Path, over: str, models: list[Path]) -> None:
    """Print the distances."""
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(base)
    rows = [json.loads(line) for line in tones.read_text("utf-8").splitlines()]
    expected = token_losses(unmerged(base, adapter, over), tokenizer, rows)
    distances = {
        str(folder): float((token_losses(loaded(folder), tokenizer, rows) - expected).abs().mean())
        for folder in models
    }
    print(json.dumps(distances))  # noqa: T201 - the output of a script


if __name__ == "__main__":
    first, second, third, fourth, *others = sys.argv[1:]
    main(Path(first), Path(second), Path(third), fourth, list(map(Path, others)))
