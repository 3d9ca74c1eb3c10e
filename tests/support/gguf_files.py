"""Writes small GGUF files by the format's description, apart from Quern's own code and from gguf's.

https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

F32, F16, Q4_1, Q8_0 = 0, 1, 3, 8
ALIGNMENT = 32

Value = bool | int | float | str | Sequence[str] | Sequence[int] | Sequence[float]


@dataclass(frozen=True)
class Tensor:
    """A tensor as it lies in the file."""

    sizes: tuple[int, ...]
    """The innermost first, as the file lists them."""
    type: int
    content: bytes


def gguf(metadata: Mapping[str, Value], tensors: Mapping[str, Tensor], version: int = 3) -> bytes:
    """Return the bytes of a file."""
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    head += b"".join(text(key) + typed(value) for key, value in metadata.items())
    offset, data = 0, b""
    for name, tensor in tensors.items():
        head += text(name) + struct.pack("<I", len(tensor.sizes))
        head += struct.pack(f"<{len(tensor.sizes)}Q", *tensor.sizes)
        head += struct.pack("<IQ", tensor.type, offset)
        data += padded(tensor.content)
        offset = len(data)
    return padded(head) + data


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % ALIGNMENT)


def text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def typed(value: Value) -> bytes:
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + text(value)
    if value and isinstance(value[0], str):
        items = b"".join(text(str(item)) for item in value)
        return struct.pack("<IIQ", 9, 8, len(value)) + items
    kind, form = (6, "f") if any(isinstance(item, float) for item in value) else (5, "i")
    return struct.pack(f"<IIQ{len(value)}{form}", 9, kind, len(value), *value)


WIDTH, INNER, HEADS, SHARED, LAYERS = 64, 96, 4, 2, 2
SIGNS = [chr(at) for at in (*range(33, 127), *range(161, 173), *range(174, 256))]
SIGNS += [chr(256 + number) for number in range(256 - len(SIGNS))]
"""How byte-level BPE spells the 256 bytes (``bytes_to_unicode`` of GPT-2); their order is not by
byte, which does not matter for a vocabulary."""
SPECIAL = ("<|end|>", "<|user|>", "<|bot|>")
MERGES = ("h e", "l l", "he ll", "hell o", "1 2", "Ġ w", "Ġw o", "' s")
TOKENS = (*SPECIAL, *SIGNS, *(merge.replace(" ", "") for merge in MERGES))
TEMPLATE = (
    "{% for m in messages %}<|user|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|bot|>{% endif %}"
)

LLAMA: Mapping[str, Value] = {
    "general.architecture": "llama",
    "general.name": "tiny",
    "llama.block_count": LAYERS,
    "llama.context_length": 256,
    "llama.embedding_length": WIDTH,
    "llama.feed_forward_length": INNER,
    "llama.attention.head_count": HEADS,
    "llama.attention.head_count_kv": SHARED,
    "llama.rope.freq_base": 50000.0,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
    "llama.vocab_size": len(TOKENS),
    "llama.rope.dimension_count": WIDTH // HEADS,
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "smollm",
    "tokenizer.ggml.add_bos_token": False,
    "tokenizer.ggml.tokens": TOKENS,
    "tokenizer.ggml.token_type": [3] * len(SPECIAL) + [1] * (len(TOKENS) - len(SPECIAL)),
    "tokenizer.ggml.merges": MERGES,
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.eos_token_id": 0,
    "tokenizer.ggml.eot_token_id": 2,
    "tokenizer.ggml.padding_token_id": 0,
    "tokenizer.chat_template": TEMPLATE,
}
"""Metadata of a small model whose tokenizer sets digits apart, so that ``1 2`` is never merged."""

_SIZES = {F32: (1, 4), F16: (1, 2), Q4_1: (32, 20), Q8_0: (32, 34)}


def llama_shapes() -> dict[str, tuple[tuple[int, ...], int]]:
    """Return sizes, the innermost first, and format of the tensors of :data:`LLAMA`."""
    narrow = WIDTH // HEADS * SHARED
    layer: dict[str, tuple[tuple[int, ...], int]] = {
        "attn_norm": ((WIDTH,), F32),
        "attn_q": ((WIDTH, WIDTH), Q4_1),
        "attn_k": ((WIDTH, narrow), Q8_0),
        "attn_v": ((WIDTH, narrow), Q4_1),
        "attn_output": ((WIDTH, WIDTH), F16),
        "ffn_norm": ((WIDTH,), F32),
        "ffn_gate": ((WIDTH, INNER), Q4_1),
        "ffn_up": ((WIDTH, INNER), Q4_1),
        "ffn_down": ((INNER, WIDTH), Q8_0),
    }
    return {
        "token_embd.weight": ((WIDTH, len(TOKENS)), Q8_0),
        "output_norm.weight": ((WIDTH,), F32),
        **{
            f"blk.{number}.{name}.weight": shape
            for number in range(LAYERS)
            for name, shape in layer.items()
        },
    }


def zeros() -> dict[str, Tensor]:
    """Return the tensors of :data:`LLAMA`, all zero."""
    found = {}
    for name, (sizes, kind) in llama_shapes().items():
        numbers, size = _SIZES[kind]
        count = 1
        for one in sizes:
            count *= one
        found[name] = Tensor(sizes, kind, bytes(count // numbers * size))
    return found


def write_llama(path: Path, changes: Mapping[str, Value | None] | None = None) -> Path:
    """Write a file of :data:`LLAMA` with zeros; ``None`` removes an entry."""
    metadata = {**LLAMA, **(changes or {})}
    kept = {key: value for key, value in metadata.items() if value is not None}
    path.write_bytes(gguf(kept, zeros()))
    return path
