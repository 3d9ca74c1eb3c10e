"""Models as folders and files: checkpoints, adapters, ONNX models, GGUF files."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from tests.attack.configs import plan
from tests.attack.hostile import as_json, damaged, hostile
from tests.attack.inside import Ended
from tests.attack.surface import Files, Surface, write_files
from tests.support.gguf_files import F32, Tensor, gguf
from tests.support.project import make_project

_CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "num_hidden_layers": 1,
    "max_position_embeddings": 64,
    "vocab_size": 4,
    "rope_scaling": {"rope_type": "default", "factor": 2.0},
    "tie_word_embeddings": False,
    "eos_token_id": [1, 2],
    "torch_dtype": "float32",
}
_TOKENIZER = {"added_tokens": [{"id": 3, "content": "<end>"}], "model": {"vocab": {"a": 0}}}
_TOKENIZER_CONFIG = {"eos_token": "<end>", "pad_token": {"content": "<end>"}}
_SHAPES = {"model.embed_tokens.weight": [4, 8], "lm_head.weight": [4, 8]}


def _header(shapes: Mapping[str, list[int]]) -> dict[str, Any]:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    begin = 0
    for name, shape in shapes.items():
        end = begin + 4 * shape[0] * shape[1]
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}
        begin = end
    return header


def _safetensors(header: Any) -> bytes:
    text = as_json(header)
    return struct.pack("<Q", len(text)) + text + bytes(256)


def _index(tree: Any) -> bytes:
    return as_json(tree)


_CHECKPOINT: Mapping[str, tuple[Any, Callable[[Any], bytes]]] = {
    "config.json": (_CONFIG, as_json),
    "tokenizer.json": (_TOKENIZER, as_json),
    "tokenizer_config.json": (_TOKENIZER_CONFIG, as_json),
    "generation_config.json": ({"eos_token_id": 1}, as_json),
    "model.safetensors": (_header(_SHAPES), _safetensors),
}
_SHARDED = {
    **{name: entry for name, entry in _CHECKPOINT.items() if name != "model.safetensors"},
    "model-1.safetensors": (_header(_SHAPES), _safetensors),
    "model.safetensors.index.json": (
        {"weight_map": dict.fromkeys(_SHAPES, "model-1.safetensors")},
        as_json,
    ),
}
_ADAPTER: Mapping[str, tuple[Any, Callable[[Any], bytes]]] = {
    "adapter_config.json": (
        {"peft_type": "LORA", "r": 2, "target_modules": ["q_proj"], "lora_alpha": 4},
        as_json,
    ),
    "adapter_model.safetensors": (
        _header({"base_model.model.lm_head.lora_A.weight": [2, 8]}),
        _safetensors,
    ),
}
_ONNX: Mapping[str, tuple[Any, Callable[[Any], bytes]]] = {
    "genai_config.json": (
        {
            "model": {
                "vocab_size": 4,
                "context_length": 64,
                "eos_token_id": 1,
                "decoder": {
                    "filename": "model.onnx",
                    "num_hidden_layers": 1,
                    "session_options": {"provider_options": [{"cpu": {}}]},
                },
            },
            "search": {"do_sample": False},
        },
        as_json,
    ),
    "model.onnx": ([], as_json),
    "tokenizer.json": (_TOKENIZER, as_json),
}
_GGUF = gguf(
    {
        "general.architecture": "llama",
        "llama.block_count": 1,
        "llama.context_length": 64,
        "llama.embedding_length": 8,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": ["a", "b", "c", "d"],
    },
    {"token_embd.weight": Tensor((8, 4), F32, bytes(128))},
)


@st.composite
def _folders(
    draw: st.DrawFn, parts: Mapping[str, tuple[Any, Callable[[Any], bytes]]]
) -> dict[str, bytes]:
    """Return the files of a folder of which one or two are hostile, or missing."""
    files = {name: write(tree) for name, (tree, write) in parts.items()}
    for name in draw(st.lists(st.sampled_from(sorted(files)), min_size=1, max_size=2, unique=True)):
        tree, write = parts[name]
        if draw(st.integers(0, 9)) == 0:
            del files[name]
        else:
            files[name] = draw(hostile(tree, write))
    return files


def _whole(parts: Mapping[str, tuple[Any, Callable[[Any], bytes]]]) -> Files:
    return {name: write(tree) for name, (tree, write) in parts.items()}


def _meet(given: tuple[str, Files], folder: Path) -> Ended:
    model, files = given
    project = make_project(folder)
    write_files(folder, {f"{name}": content for name, content in files.items()})
    project.edit('[model.pretrain]\ntext = "story.txt"\n', f"[model]\n{model}\n")
    if "onnx" in model:
        text = project.config.read_text("utf-8")
        project.config.write_text(text[: text.index("[passes.lora]")], "utf-8")
    return plan(project.config)


def _below(place: str, files: Files) -> Files:
    return {f"{place}/{name}": content for name, content in files.items()}


MODELS = Surface(
    "models",
    st.one_of(
        *(
            _folders(parts).map(lambda files: ('source = "m"', _below("m", files)))
            for parts in (_CHECKPOINT, _SHARDED)
        ),
        _folders(_ADAPTER).map(
            lambda files: (
                'source = "m"\nadapter = "a"',
                {**_below("m", _whole(_CHECKPOINT)), **_below("a", files)},
            )
        ),
        _folders(_ONNX).map(lambda files: ('onnx = "o"', _below("o", files))),
        damaged(_GGUF, 6).map(lambda content: ('source = "m.gguf"', {"m.gguf": content})),
    ),
    _meet,
    count=250,
)
