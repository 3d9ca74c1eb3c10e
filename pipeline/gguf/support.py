"""Which GGUF files can become a checkpoint, and why others cannot.

transformers' reader takes what it knows from a file and leaves the rest without a word: a rotary
scaling, for one, without which the model is another one. So what it would leave out is refused
here. Free of any ML library.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pipeline.gguf.formats import FORMATS
from pipeline.gguf.header import GgufHeader

ARCHITECTURES = ("llama", "phi3", "qwen2", "qwen3")
"""Those of which transformers' reader takes all that the model depends on. Of others it leaves out
some: Gemma 2 and 3 of 27 billion parameters scale attention otherwise than it takes for granted,
StarCoder 2 has another base of its rotary positions."""

PRE_TOKENIZERS = (
    *("dbrx", "deepseek-r1-qwen", "f2llmv2", "falcon-h1", "falcon3", "gpt-2", "gpt-4o"),
    *("jina-v5-nano", "kanana2", "kormo", "lfm2", "llama-bpe", "llama-v3", "llama3", "llama4"),
    *("megrez", "midm-2.0", "minimax-m2", "pixtral", "qwen2", "qwen35", "smaug-bpe", "smollm"),
    *("talkie", "tekken"),
)
"""Ways to split a text before byte-level BPE joins bytes, as llama.cpp calls them."""

MODEL_TYPE = "model"
_EMBEDDING = "token_embd.weight"
_ROPE_TENSORS = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")
_HUGGING_FACE = "bring the model as a Hugging Face checkpoint instead"


class Refusal(NamedTuple):
    """Why a file cannot become a checkpoint."""

    message: str
    hint: str = _HUGGING_FACE


def refusals(header: GgufHeader) -> Iterator[Refusal]:
    """Yield every reason why the file with ``header`` cannot become a checkpoint."""
    kind = header.text("general.type") or MODEL_TYPE
    if kind != MODEL_TYPE:
        yield Refusal(f"llama.cpp calls what it holds '{kind}'", "name the file of a model")
        return
    if (header.number("split.count") or 1) > 1:
        yield Refusal(
            f"it is one of {header.number('split.count'):.0f} parts of a model",
            "join them with llama.cpp's `llama-gguf-split --merge`",
        )
        return
    if header.architecture not in ARCHITECTURES:
        yield Refusal(
            f"its architecture is '{header.architecture}'; {', '.join(ARCHITECTURES)} can be read"
        )
        return
    yield from _tensors(header)
    yield from _left_out(header)
    yield from _tokenizer(header)


def _tensors(header: GgufHeader) -> Iterator[Refusal]:
    if _EMBEDDING not in header.tensors:
        yield Refusal(f"it holds no {_EMBEDDING}", "copy it again")
    unknown = sorted({one.type_number for one in header.tensors.values() if one.format is None})
    if unknown:
        known = ", ".join(form.name for form in FORMATS.values())
        yield Refusal(
            f"its tensors are of formats with the numbers {', '.join(map(str, unknown))}",
            f"quantize the model in another format: {known} can be read",
        )


def _left_out(header: GgufHeader) -> Iterator[Refusal]:
    """Yield what is part of the model, and left out by transformers' reader."""
    for name in _ROPE_TENSORS:
        if name in header.tensors:
            yield Refusal(f"it scales rotary positions ({name}), which the reader leaves out")
    architecture = header.architecture
    scaling = header.text(f"{architecture}.rope.scaling.type")
    if scaling not in ("", "none"):
        yield Refusal(f"it scales rotary positions ({scaling}), which the reader leaves out")
    size = header.number(f"{architecture}.attention.key_length") or _head_size(header)
    rotated = header.number(f"{architecture}.rope.dimension_count") or size
    if rotated != size:
        yield Refusal(f"it rotates {rotated:.0f} of {size:.0f} dimensions; the reader rotates all")
    window = header.number(f"{architecture}.attention.sliding_window")
    context = header.number(f"{architecture}.context_length") or 0
    if window and window < context:
        yield Refusal(f"it has a sliding window of {window:.0f}, which the reader leaves out")
    if header.number(f"{architecture}.expert_count"):
        yield Refusal("it is a mixture of experts, which the reader does not know of its kind")


def _head_size(header: GgufHeader) -> float:
    width = header.number(f"{header.architecture}.embedding_length") or 0
    return width // (header.number(f"{header.architecture}.attention.head_count") or 1)


def _tokenizer(header: GgufHeader) -> Iterator[Refusal]:
    kind = header.text("tokenizer.ggml.model")
    tokens = header.items("tokenizer.ggml.tokens")
    embedding = header.tensors.get(_EMBEDDING)
    if kind not in ("gpt2", "llama"):
        yield Refusal(
            f"its tokenizer is of the kind '{kind}'; gpt2 (byte-level BPE) and llama can be read"
        )
    elif not tokens or (kind == "gpt2" and not header.items("tokenizer.ggml.merges")):
        yield Refusal("it lacks tokens or merges of its tokenizer")
    elif embedding is not None and len(tokens) > embedding.shape[0]:
        yield Refusal(f"it has {len(tokens)} tokens, and embeddings of {embedding.shape[0]}")
    for name in ("bos", "eos", "padding", "unknown"):
        token = header.number(f"tokenizer.ggml.{name}_token_id")
        if token is not None and not 0 <= token < len(tokens):
            yield Refusal(f"the number of its {name} token is {token:.0f} of {len(tokens)}")
    splitting = header.text("tokenizer.ggml.pre")
    if kind == "gpt2" and splitting not in PRE_TOKENIZERS:
        yield Refusal(
            f"its tokenizer splits text as '{splitting or 'default'}', which is not known here: "
            "the same text would have other tokens"
        )
