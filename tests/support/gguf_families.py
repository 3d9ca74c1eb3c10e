"""Run by a toolchain's Python: writes small models of each architecture that can be read as GGUF
files, has them turned into checkpoints, and holds those against the models. Prints one JSON object.

Names of tensors are llama.cpp's (gguf-py, tensor_mapping.py), written down here. Token ids of a
vocabulary with scores are those of the plain algorithm: join the neighbours whose token has the
best score, until none are left (SentencePiece's BPE, https://arxiv.org/abs/1808.06226).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, dequantize
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from pipeline.gguf.checkpoint import write_checkpoint
from pipeline.gguf.formats import FORMATS
from tests.support.gguf_files import F32, LLAMA, Tensor, Value, gguf

_COMMON = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
_LAYER = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
_PIECES = ("▁", *"abcdehilorstw", "he", "ll", "▁w", "llo", "hello", "▁hello", "or", "ld", "▁wor")
_SCORED = ("<unk>", "<s>", "</s>", *_BYTES, *_PIECES)
_SCORES = [0.0] * (3 + 256) + [-float(rank) for rank in range(len(_PIECES))]
_TYPES = [2, 3, 3] + [6] * 256 + [1] * len(_PIECES)
_TEXTS = ("hello world", "a  hello", " held well", "tea & 東", "hello\nhello")

BYTE_LEVEL: Mapping[str, Value] = {
    key: value for key, value in LLAMA.items() if key.startswith("tokenizer.")
}
SCORED: Mapping[str, Value] = {
    "tokenizer.ggml.model": "llama",
    "tokenizer.ggml.tokens": _SCORED,
    "tokenizer.ggml.scores": _SCORES,
    "tokenizer.ggml.token_type": _TYPES,
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.eos_token_id": 2,
    "tokenizer.ggml.unknown_token_id": 0,
}


def models() -> dict[str, tuple[Any, Mapping[str, Value]]]:
    """Return a model of each architecture, and the metadata of its tokenizer."""
    torch.manual_seed(0)
    shape = {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "rms_norm_eps": 1e-5,
        "initializer_range": 0.2,
        "pad_token_id": 0,
    }
    bpe = {**shape, "vocab_size": len(BYTE_LEVEL["tokenizer.ggml.tokens"])}  # type: ignore[arg-type]
    scored = {**shape, "vocab_size": len(_SCORED)}
    theta = {"rope_parameters": {"rope_type": "default", "rope_theta": 30000.0}}
    heads = {"head_dim": 128}
    return {
        "qwen2": (Qwen2ForCausalLM(Qwen2Config(**bpe, **theta)), BYTE_LEVEL),
        "qwen3": (Qwen3ForCausalLM(Qwen3Config(**bpe, **theta, **heads)), BYTE_LEVEL),
        "phi3": (Phi3ForCausalLM(Phi3Config(**scored, **theta)), SCORED),
        "llama": (LlamaForCausalLM(LlamaConfig(**scored, **theta)), SCORED),
        "unspaced": (
            LlamaForCausalLM(LlamaConfig(**scored, **theta)),
            {**SCORED, "tokenizer.ggml.add_space_prefix": False},
        ),
    }


def named(name: str) -> str:
    """Return llama.cpp's name of a tensor."""
    if name in _COMMON:
        return _COMMON[name]
    _, _, number, rest = name.split(".", 3)
    part, _, kind = rest.rpartition(".")
    return f"blk.{number}.{_LAYER[part]}.{kind}"


def neighbours(weight: np.ndarray, heads: int) -> np.ndarray:
    """Return rows of the two halves of each head as neighbours, as llama.cpp rotates them."""
    size = len(weight) // heads
    order = [
        head * size + part * (size // 2) + pair
        for head in range(heads)
        for pair in range(size // 2)
        for part in (0, 1)
    ]
    return weight[order]


def file_of(
    name: str,
    model: Any,
    tokenizer: Mapping[str, Value],
    blocks: Mapping[str, Tensor] | None = None,
) -> bytes:
    """Return a file of ``model``; ``blocks`` stand in it for weights of the same names."""
    config = model.config
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    metadata: dict[str, Value] = {
        "general.architecture": name,
        "general.name": "tiny",
        f"{name}.block_count": config.num_hidden_layers,
        f"{name}.context_length": config.max_position_embeddings,
        f"{name}.embedding_length": config.hidden_size,
        f"{name}.feed_forward_length": config.intermediate_size,
        f"{name}.attention.head_count": config.num_attention_heads,
        f"{name}.attention.head_count_kv": config.num_key_value_heads,
        f"{name}.attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        f"{name}.attention.key_length": size,
        f"{name}.rope.freq_base": config.rope_parameters["rope_theta"],
        f"{name}.rope.dimension_count": size,
        f"{name}.vocab_size": config.vocab_size,
        **({"tokenizer.ggml.pre": "qwen2"} if tokenizer is BYTE_LEVEL else {}),
    }
    tensors = {}
    for key, tensor in model.state_dict().items():
        weight = tensor.numpy()
        if name == "llama" and ".q_proj" in key:
            weight = neighbours(weight, config.num_attention_heads)
        if name == "llama" and ".k_proj" in key:
            weight = neighbours(weight, config.num_key_value_heads)
        content = np.ascontiguousarray(weight, dtype=np.float32).tobytes()
        tensors[named(key)] = Tensor(tuple(reversed(weight.shape)), F32, content)
    return gguf({**tokenizer, **metadata}, {**tensors, **(blocks or {})})


def in_blocks(folder: Path) -> dict[str, Any]:
    """Return in what a model whose matrices are random blocks of every format differs from what
    ``gguf`` makes of each, and from what transformers' reader makes of the file."""
    config = Qwen2Config(
        vocab_size=len(BYTE_LEVEL["tokenizer.ggml.tokens"]),  # type: ignore[arg-type]
        hidden_size=256,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        pad_token_id=0,
    )
    model = Qwen2ForCausalLM(config)
    chance = np.random.default_rng(0)
    numbers = cycle(sorted(FORMATS))
    blocks, right, names = {}, {}, set()
    for key, weight in model.state_dict().items():
        if weight.dim() != 2:
            continue
        kind = GGMLQuantizationType(next(numbers))
        held, size = GGML_QUANT_SIZES[kind]
        rows, columns = weight.shape
        content = chance.integers(0, 256, (rows, columns // held * size), dtype=np.uint8)
        blocks[named(key)] = Tensor((columns, rows), int(kind), content.tobytes())
        plain = {"F32": np.float32, "F16": np.float16}.get(kind.name)
        right[key] = content.view(plain) if plain is not None else dequantize(content, kind)
        names.add(kind.name)
    out = folder / "blocks"
    out.mkdir()
    (folder / "blocks.gguf").write_bytes(file_of("qwen2", model, BYTE_LEVEL, blocks))
    write_checkpoint(folder / "blocks.gguf", out)
    made = AutoModelForCausalLM.from_pretrained(out).state_dict()
    read = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file="blocks.gguf", dtype=torch.float32
    ).state_dict()
    return {
        "formats": sorted(names),
        "unequal": [k for k, w in right.items() if not _same(w, made[k].float().numpy())],
        "otherwise": [k for k, w in read.items() if not _same(w.numpy(), made[k].float().numpy())],
    }


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    """Return whether all numbers are equal; random blocks have scales that are none."""
    return np.array_equal(one.astype(np.float32), other, equal_nan=True)


def joined(text: str, space: str) -> list[int]:
    """Return the ids of ``text`` by the plain algorithm, with ``space`` before it."""
    ids = {token: number for number, token in enumerate(_SCORED)}
    parts = list(space + text.replace(" ", "▁"))
    while True:
        pairs = [
            (_SCORES[ids[first + second]], -at)
            for at, (first, second) in enumerate(pairwise(parts))
            if first + second in ids
        ]
        if not pairs:
            break
        at = -max(pairs)[1]
        parts[at : at + 2] = ["".join(parts[at : at + 2])]
    found: list[int] = []
    for part in parts:
        found += [ids[part]] if part in ids else [ids[_BYTES[byte]] for byte in part.encode()]
    return found


def main(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    probe: Sequence[Sequence[int]] = [[5, 7, 11, 13, 17, 19, 23]]
    for title, (model, tokenizer) in models().items():
        name = model.config.model_type
        model.eval()
        for weight in model.parameters():
            if weight.dim() == 1:  # norms and biases begin as ones and zeros, which prove nothing
                torch.nn.init.normal_(weight, 1.0, 0.2)
        out = folder / title
        out.mkdir()
        (folder / f"{title}.gguf").write_bytes(file_of(name, model, tokenizer))
        write_checkpoint(folder / f"{title}.gguf", out)
        made = AutoModelForCausalLM.from_pretrained(out).eval()
        with torch.inference_mode():
            ids = torch.tensor(probe)
            difference = (made(ids).logits - model(ids).logits).abs().max()
        found[title] = {"difference": float(difference)}
        if tokenizer is not BYTE_LEVEL:
            encode = AutoTokenizer.from_pretrained(out).encode
            space = "▁" if tokenizer is SCORED else ""
            found[title]["ids"] = [encode(text, add_special_tokens=False) for text in _TEXTS]
            found[title]["joined"] = [joined(text, space) for text in _TEXTS]
    return {**found, "blocks": in_blocks(folder)}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))  # noqa: T201 - the answer
