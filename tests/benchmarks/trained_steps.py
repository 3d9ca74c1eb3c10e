"""Run by a toolchain's Python: trains a model of random weights, step by step, and prints as JSON
the seconds of each step with kernels that are chosen by name, and with PyTorch's own.

Usage: ``python trained_steps.py MODEL ROWS TOKENS THREADS ROUNDS``.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import nullcontext

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig

from pipeline.process.heap import kept_heap
from pipeline.training.named_kernels import named_kernels

_MODELS = {
    "small": LlamaConfig(
        vocab_size=2048,
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=2,
        num_attention_heads=4,
    ),
    "135M": LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        tie_word_embeddings=True,
    ),
}


def main() -> None:
    """Train, and print."""
    config = _MODELS[sys.argv[1]]
    rows, tokens, threads, rounds = map(int, sys.argv[2:])
    torch.manual_seed(0)
    torch.use_deterministic_algorithms(True)  # as training does
    torch.set_num_threads(threads)
    model = AutoModelForCausalLM.from_config(config)
    model = get_peft_model(model, LoraConfig(r=16, target_modules="all-linear"))
    trained = [values for values in model.parameters() if values.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4)
    ids = torch.randint(0, config.vocab_size, (rows, tokens))

    def step() -> float:
        began = time.perf_counter()
        model(input_ids=ids, labels=ids).loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return time.perf_counter() - began

    seconds: dict[str, list[float]] = {"named": [], "own": []}
    for number in range(rounds + 1):
        for name, taken in seconds.items():
            with named_kernels(threads) if name == "named" else nullcontext():
                needed = step()
            if number:  # the first step makes what the others find
                taken.append(needed)
    print(json.dumps(seconds))  # noqa: T201


if __name__ == "__main__":
    with kept_heap():  # as training does
        main()
