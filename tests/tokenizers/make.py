"""Makes a small Llama checkpoint around a tokenizer: run by a toolchain's Python.

Usage: ``python -m tests.tokenizers.make SOURCE OUT``: ``SOURCE`` holds a tokenizer's files.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

_MULTIPLE = 64


def main(source: Path, out: Path) -> None:
    """Write the checkpoint; its weights are random, since only its tokenizer is looked at."""
    shutil.copytree(source, out)
    tokenizer = AutoTokenizer.from_pretrained(out)
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=-(-len(tokenizer) // _MULTIPLE) * _MULTIPLE,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=2048,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            tie_word_embeddings=True,
        )
    )
    model.save_pretrained(out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
