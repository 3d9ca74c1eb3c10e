"""Which files of a model folder the runtime reads, so that no others are handed on."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.contract.adapter_name import SUFFIX
from pipeline.onnx.graph import OnnxModel, external
from pipeline.reading.json_text import read_json

_CONFIG = "genai_config.json"
_NAMING = ("filename", "custom_ops_library")
"""Keys of the config that name files of the folder."""
_BESIDE = (
    _CONFIG,
    "config.json",
    "generation_config.json",
    f"*{SUFFIX}",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
    "LICENSE*",
    "NOTICE*",
    "README*",
)
"""Files of tokenizer, settings, adapters and licence, by the names that transformers and the
runtime know."""


def needed_files(folder: Path) -> tuple[str, ...]:
    """Return the files of a model folder that belong to the model, sorted: graphs that its config
    names, their external data, tokenizer, settings and licence.

    Raises ``ValueError`` if its config or a graph cannot be read.
    """
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    needed = {name for name in there if any(fnmatch(name, pattern) for pattern in _BESIDE)}
    for graph in _graphs(read_json(folder / _CONFIG, strict=True)):
        if graph not in there:
            continue
        needed.add(graph)
        if not graph.endswith(".onnx"):
            continue
        model = OnnxModel(folder / graph)
        beside = PurePosixPath(graph).parent
        places = filter(None, map(external, model.initializers.values()))
        needed |= {(beside / place.location).as_posix() for place in places}
    return tuple(sorted(needed & there))


def _graphs(value: Any) -> Iterator[str]:
    """Yield the names of graphs, of whichever part of the model."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in _NAMING and isinstance(inner, str):
                yield inner
            else:
                yield from _graphs(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _graphs(inner)
