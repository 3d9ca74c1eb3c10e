"""Makes the tokenizer of a GGUF file, from its own vocabulary, merges and chat template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.gguf.header import GgufHeader

_DIGITS_ALONE = ("smollm",)
"""Ways to split a text, as llama.cpp calls them, that set each digit apart before GPT-2's."""
_SPACE = "\u2581"
"""How a vocabulary with scores spells a space."""


def tokenizer_of(file: Path, header: GgufHeader) -> Any:
    """Return the transformers tokenizer of ``file``.

    It is the one that transformers makes, but for two things. It splits a text as the model learnt,
    where transformers takes GPT-2's way for each that it does not know. And a vocabulary with
    scores gets a space before a text and after each special token, as in llama.cpp, also where
    the text begins with one.
    """
    from tokenizers import normalizers, pre_tokenizers
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
    if header.text("tokenizer.ggml.model") == "llama":
        spaced = header.metadata.get("tokenizer.ggml.add_space_prefix", True)
        before = [normalizers.Prepend(_SPACE)] if spaced else []
        tokenizer.backend_tokenizer.normalizer = normalizers.Sequence(
            [*before, normalizers.Replace(" ", _SPACE)]
        )
        tokenizer.backend_tokenizer.pre_tokenizer = None
    length = header.number(f"{header.architecture}.context_length")
    if length:
        tokenizer.model_max_length = int(length)
    return tokenizer


def end_ids(header: GgufHeader) -> list[int]:
    """Return the numbers of the tokens that end an answer: of a text, and of a turn."""
    found = (header.number(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot", "eom"))
    return list(dict.fromkeys(int(token) for token in found if token is not None))
