"""Run by a toolchain's Python: makes a GGUF file of random blocks, has it turned into a checkpoint,
and holds that against numbers and ids that are computed otherwise. Prints one JSON object.

Numbers are those of the formats' definitions (https://github.com/ggml-org/llama.cpp, ggml-quants.c:
``dequantize_row_q4_1``, ``dequantize_row_q8_0``), written down with numpy. The rows of ``attn_q``
and ``attn_k`` lie in pairs of neighbours, since llama.cpp rotates neighbours where transformers
rotates halves. Token ids are those of a tokenizer with llama.cpp's own expressions for ``smollm``
(llama-vocab.cpp).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import _type_traits
from safetensors.numpy import load_file
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.integrations.ggml import GGUF_CONFIG_MAPPING
from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

from pipeline.gguf.checkpoint import write_checkpoint
from pipeline.gguf.formats import FORMATS
from pipeline.gguf.support import ARCHITECTURES, PRE_TOKENIZERS
from tests.support.gguf_files import (
    F16,
    F32,
    HEADS,
    LLAMA,
    MERGES,
    Q4_1,
    Q8_0,
    SHARED,
    TOKENS,
    Tensor,
    gguf,
    llama_shapes,
)

_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_TEXTS = (
    "hello world",
    "It's 2024, hello  world!\n12ab 1 2",
    "Größe — naïve 東京 ½ ٣",
    " leading and trailing ",
    "<|user|>hello<|end|><|bot|>",
)
_SMOLLM = (
    r"\p{N}",
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)",
)


def blocks(chance: np.random.Generator, kind: int, count: int) -> tuple[bytes, np.ndarray]:
    """Return random content in a format, and the numbers that it stands for."""
    if kind == F32:
        plain = chance.normal(1, 0.1, count).astype(np.float32)
        return plain.tobytes(), plain
    if kind == F16:
        half = chance.normal(0, 0.05, count).astype(np.float16)
        return half.tobytes(), half.astype(np.float32)
    rows = count // 32
    scale = chance.uniform(0.001, 0.01, rows).astype(np.float16)
    if kind == Q8_0:
        signed = chance.integers(-127, 128, (rows, 32)).astype(np.int8)
        content = b"".join(scale[at].tobytes() + signed[at].tobytes() for at in range(rows))
        return content, (scale.astype(np.float32)[:, None] * signed).reshape(-1)
    assert kind == Q4_1
    least = chance.uniform(-0.05, 0, rows).astype(np.float16)
    packed = chance.integers(0, 256, (rows, 16)).astype(np.uint8)
    content = b"".join(
        scale[at].tobytes() + least[at].tobytes() + packed[at].tobytes() for at in range(rows)
    )
    nibbles = np.concatenate((packed & 15, packed >> 4), axis=1).astype(np.float32)
    numbers = scale.astype(np.float32)[:, None] * nibbles + least.astype(np.float32)[:, None]
    return content, numbers.reshape(-1)


def halves(rows: np.ndarray, heads: int) -> np.ndarray:
    """Return the rows of each head with what llama.cpp has as neighbours in two halves."""
    size = len(rows) // heads
    order = [
        head * size + 2 * pair + part
        for head in range(heads)
        for part in (0, 1)
        for pair in range(size // 2)
    ]
    return rows[order]


def made(folder: Path) -> Mapping[str, np.ndarray]:
    """Write the file; return the weights that the checkpoint has to have."""
    chance = np.random.default_rng(0)
    tensors, expected = {}, {}
    for name, (sizes, kind) in llama_shapes().items():
        content, numbers = blocks(chance, kind, int(np.prod(sizes)))
        tensors[name] = Tensor(sizes, kind, content)
        weight = numbers.reshape(tuple(reversed(sizes)))
        part, *rest = name.removesuffix(".weight").split(".")[::-1]
        if part in ("attn_q", "attn_k"):
            weight = halves(weight, HEADS if part == "attn_q" else SHARED)
        layer = f"model.layers.{rest[0]}." if rest else ""
        expected[f"{layer}{_NAMES[part]}.weight"] = weight
    (folder / "tiny.gguf").write_bytes(gguf(LLAMA, tensors))
    return expected


def own_tokenizer() -> Tokenizer:
    vocabulary = {token: number for number, token in enumerate(TOKENS)}
    merges = [tuple(merge.split(" ")) for merge in MERGES]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    splits = [pre_tokenizers.Split(Regex(one), behavior="isolated") for one in _SMOLLM]
    bytes_of = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*splits, bytes_of])
    tokenizer.add_special_tokens(list(TOKENS[:3]))
    return tokenizer


def main(folder: Path) -> dict[str, Any]:
    expected = made(folder)
    out = folder / "checkpoint"
    out.mkdir()
    facts = write_checkpoint(folder / "tiny.gguf", out)
    weights = load_file(out / "model.safetensors")
    tokenizer = AutoTokenizer.from_pretrained(out)
    model = AutoModelForCausalLM.from_pretrained(out)
    own = own_tokenizer()
    return {
        "facts": facts,
        "names": weights.keys() == expected.keys(),
        "unequal": [n for n, w in expected.items() if not np.array_equal(w, weights[n])],
        "dtypes": sorted({str(weight.dtype) for weight in weights.values()}),
        "ids": [tokenizer.encode(text, add_special_tokens=False) for text in _TEXTS],
        "own_ids": [own.encode(text, add_special_tokens=False).ids for text in _TEXTS],
        "texts": list(_TEXTS),
        "decoded": [tokenizer.decode(own.encode(text).ids) for text in _TEXTS],
        "chat": tokenizer.apply_chat_template(
            [{"role": "user", "content": "hello"}], add_generation_prompt=True, tokenize=False
        ),
        "config": {
            name: getattr(model.config, name)
            for name in ("vocab_size", "rms_norm_eps", "tie_word_embeddings", "eos_token_id")
        },
        "rope_theta": model.config.rope_parameters["rope_theta"],
        "ends": model.generation_config.eos_token_id,
        "formats": {
            number: list(form) == [form.name, form.bits, *GGML_QUANT_SIZES[kind]]
            and kind.name == form.name
            and (form.name in ("F32", "F16") or kind in _type_traits)
            for number, form in FORMATS.items()
            for kind in [GGMLQuantizationType(number)]
        },
        "architectures": [name in GGUF_CONFIG_MAPPING for name in ARCHITECTURES],
        "splits": sorted(set(GGUF_PRE_TOKENIZER_SPLITS) ^ set(PRE_TOKENIZERS)),
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))  # noqa: T201 - the answer
