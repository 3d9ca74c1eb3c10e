"""What transformers' reader would leave out, or read wrongly, is refused with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.gguf.header import GgufHeader, read_header
from pipeline.gguf.size import weights_of
from pipeline.gguf.support import refusals
from tests.support.gguf_files import (
    LLAMA,
    TOKENS,
    Tensor,
    Value,
    gguf,
    llama_shapes,
    write_llama,
    zeros,
)


def said(header: GgufHeader) -> list[str]:
    return [refusal.message for refusal in refusals(header)]


def test_a_file_that_can_be_read_is_not_refused(tmp_path: Path) -> None:
    assert said(read_header(write_llama(tmp_path / "m.gguf"))) == []


CHANGES: Mapping[str, tuple[Mapping[str, Value | None], str]] = {
    "architecture": ({"general.architecture": "mamba"}, "architecture is 'mamba'"),
    "adapter": ({"general.type": "adapter"}, "'adapter'"),
    "part": ({"split.count": 3}, "one of 3 parts"),
    "scaled": ({"llama.rope.scaling.type": "yarn"}, "scales rotary positions (yarn)"),
    "window": ({"llama.attention.sliding_window": 128}, "sliding window of 128"),
    "partial": ({"llama.rope.dimension_count": 8}, "rotates 8 of 16 dimensions"),
    "experts": ({"llama.expert_count": 8}, "mixture of experts"),
    "splitting": ({"tokenizer.ggml.pre": "unheard-of"}, "splits text as 'unheard-of'"),
    "no splitting": ({"tokenizer.ggml.pre": None}, "splits text as 'default'"),
    "kind": ({"tokenizer.ggml.model": "rwkv"}, "kind 'rwkv'"),
    "merges": ({"tokenizer.ggml.merges": None}, "lacks tokens or merges"),
    "end": ({"tokenizer.ggml.eos_token_id": 9999}, f"eos token is 9999 of {len(TOKENS)}"),
    "tokens": ({"tokenizer.ggml.tokens": [*TOKENS, "more"]}, f"embeddings of {len(TOKENS)}"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_it_is_refused(what: str, tmp_path: Path) -> None:
    changes, message = CHANGES[what]
    (only,) = said(read_header(write_llama(tmp_path / "m.gguf", changes)))
    assert message in only


@pytest.mark.parametrize("name", ["gemma", "gemma2", "gemma3", "mistral3", "phi2", "gpt_oss", ""])
def test_an_architecture_of_which_the_reader_leaves_out_some_is_named(
    name: str, tmp_path: Path
) -> None:
    header = read_header(write_llama(tmp_path / "m.gguf", {"general.architecture": name}))
    (only,) = said(header)
    assert only == f"its architecture is '{name}'; llama, phi3, qwen2, qwen3 can be read"


def test_harmless_entries_are_not_refused(tmp_path: Path) -> None:
    harmless: Mapping[str, Value | None] = {
        "llama.rope.scaling.type": "none",
        "llama.attention.sliding_window": 256,
    }
    assert said(read_header(write_llama(tmp_path / "m.gguf", harmless))) == []


def test_a_table_of_rotary_factors_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf(LLAMA, {**zeros(), "rope_freqs.weight": Tensor((8,), 0, bytes(32))}))
    (only,) = said(read_header(path))
    assert "rope_freqs.weight" in only


def test_a_format_that_nobody_can_read_is_refused(tmp_path: Path) -> None:
    header = read_header(write_llama(tmp_path / "m.gguf"))
    odd = replace(header.tensors["output_norm.weight"], format=None, type_number=99)
    (only,) = said(replace(header, tensors={**header.tensors, "output_norm.weight": odd}))
    assert "numbers 99" in only


def test_the_size_of_the_checkpoint_is_known(tmp_path: Path) -> None:
    weights = weights_of(read_header(write_llama(tmp_path / "m.gguf")), 1)
    count = 0
    for sizes, _ in llama_shapes().values():
        numbers = 1
        for size in sizes:
            numbers *= size
        count += numbers
    assert weights.count == count
    assert (weights.tied, weights.rotary) == (True, 256 * 16)
    assert list(weights.embedding.values()) == [(len(TOKENS), 64)]
