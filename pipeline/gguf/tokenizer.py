"""Makes the tokenizer of a GGUF file, from its own vocabulary, merges and chat template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.gguf.header import GgufHeader

_DIGITS_ALONE = ("smollm",)
"""Ways to split a text, as llama.cpp calls them, that set each digit apart before GPT-2's."""


def tokenizer_of(file: Path, header: GgufHeader) -> Any:
    """Return the transformers tokenizer of ``file``.

    It is the one that transformers makes, but that it splits a text as the model learnt: of
    ways that transformers does not know it takes GPT-2's.
    """
    from tokenizers import pre_tokenizers
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(
        file.parent, gguf_file=file.name, local_files_only=True
    )
    if header.text("tokenizer.ggml.pre") in _DIGITS_ALONE:
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            ]
        )
    length = header.number(f"{header.architecture}.context_length")
    if length:
        tokenizer.model_max_length = int(length)
    return tokenizer


def end_ids(header: GgufHeader) -> list[int]:
    """Return the numbers of the tokens that end an answer: of a text, and of a turn."""
    found = (header.number(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot", "eom"))
    return list(dict.fromkeys(int(token) for token in found if token is not None))
