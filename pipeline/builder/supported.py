"""Which models a model builder can build, as its sources say. Free of any ML library.

The builder looks for the architecture of a model in a list of its own. Settings of a config that it
does not look for it ignores, without a word, so that the graph computes something else.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.builder.params import SMALLEST_BLOCK, ModelBuilderParams
from pipeline.contract.frozen import Frozen
from pipeline.contract.space import is_embedding
from pipeline.contract.suggest import did_you_mean
from pipeline.onnx.checkpoint import Checkpoint

_CONFIG = "config"
"""Name of the variable that holds a model's config throughout the builder."""

_MATTERS: Mapping[str, tuple[object, ...]] = {
    "attn_logit_softcapping": (None, 0, 0.0),
    "clip_qkv": (None,),
    "final_logit_softcapping": (None, 0, 0.0),
    "embedding_multiplier": (None, 1, 1.0),
    "logits_scaling": (None, 1, 1.0),
    "qk_layernorm": (None, False),
    "residual_multiplier": (None, 1, 1.0),
    "use_bidirectional_attention": (None, False),
}
"""Settings that change what a model computes, and the values with which they change nothing."""
_ROTARY_NEEDS = {"longrope": "short_factor", "llama3": "low_freq_factor", "yarn": "rope_parameters"}
"""Kinds of rotary positions, and what a builder looks for that has the right formula: that of
GenAI 0.13 for YaRN takes the inverse of the frequencies."""
_ROTARY = frozenset({"default", "linear", *_ROTARY_NEEDS})
_HEAD_SIZE_MULTIPLE = 16
"""Head sizes must be a multiple of this for rotary positions in ``GroupQueryAttention``."""


class Supported(Frozen):
    """What the sources of a builder look for."""

    architectures: tuple[str, ...]
    config_keys: tuple[str, ...]
    """Names of the settings that it reads of a model's config."""


def read_supported(builder: Path) -> Supported:
    """Return what the builder in folder ``builder`` looks for."""
    trees = [ast.parse(file.read_bytes(), str(file)) for file in sorted(builder.rglob("*.py"))]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    return Supported(
        architectures=tuple(sorted({name for node in nodes for name in _architectures(node)})),
        config_keys=tuple(sorted({name for node in nodes for name in _keys(node)})),
    )


def unsupported(config: Mapping[str, Any], known: Supported) -> Iterator[tuple[str, str]]:
    """Yield (problem, remedy) for each reason why a model with ``config`` cannot be built."""
    named = config.get("architectures")
    architecture = str(named[0]) if isinstance(named, list) and named else ""
    if architecture and architecture not in known.architectures:
        yield (
            f"the model builder cannot build {architecture}",
            did_you_mean(architecture, known.architectures),
        )
        return
    for name, neutral in _MATTERS.items():
        if name in config and config[name] not in neutral and name not in known.config_keys:
            yield (
                f"the model builder ignores {name} = {config[name]}, so that the artifact would "
                "compute something else",
                "use a model without it",
            )
    kind = rotary_kind(config)
    needed = _ROTARY_NEEDS.get(kind)
    if kind not in _ROTARY or (needed and needed not in known.config_keys):
        yield (
            f"the model builder cannot make rotary positions of the kind '{kind}'",
            "use a model with others, or remove rope_scaling for texts within the original context",
        )


def shape_problems(checkpoint: Checkpoint) -> Iterator[tuple[str, str]]:
    """Yield (problem, remedy) for each size with which the builder makes a broken model, without a
    word."""
    vocabulary = checkpoint.config.get("vocab_size")
    for name, shape in checkpoint.linear.items():
        if shape[0] == vocabulary and "lm_head" not in name and not is_embedding(name):
            # The builder takes every linear layer with that many outputs for the output layer
            # (`has_lm_head` in builders/base.py) and ends the graph after the first one.
            yield (
                f"{name} has as many outputs as the vocabulary has tokens ({vocabulary}); the "
                "model builder would take it for the output layer and build a broken model",
                "pad the vocabulary or change the layer's size",
            )
    size = checkpoint.head_size
    if size is not None and size % _HEAD_SIZE_MULTIPLE:
        yield (
            f"the model's attention heads have size {size}; ONNX Runtime's attention needs a "
            f"multiple of {_HEAD_SIZE_MULTIPLE}",
            "use a model with other heads",
        )


def option_problems(
    config: Mapping[str, Any], params: ModelBuilderParams
) -> Iterator[tuple[str, str, str]]:
    """Yield (key, problem, remedy) for each parameter that does not fit a model with ``config``."""
    if params.shared_embeddings and config.get("tie_word_embeddings") is False:
        yield (
            "shared_embeddings",
            "the model has an embedding and an output layer of its own: they cannot be stored once",
            "leave it out",
        )
    width = config.get("hidden_size")
    if params.embedding_bits and isinstance(width, int) and width % SMALLEST_BLOCK:
        yield (
            "embedding",
            f"the embedding has {width} columns, which are not blocks of {SMALLEST_BLOCK}",
            'set embedding = "float"',
        )


def rotary_kind(config: Mapping[str, Any]) -> str:
    """Return the kind of rotary positions: ``default``, ``yarn``, ..."""
    settings = config.get("rope_parameters") or config.get("rope_scaling") or {}
    settings = settings.get("full_attention", settings)
    kind = str(settings.get("rope_type") or settings.get("type") or "default")
    return {"su": "longrope"}.get(kind, kind)


def _architectures(node: ast.AST) -> Iterator[str]:
    """Yield the constant of ``config.architectures[0] == "x"``."""
    if isinstance(node, ast.Compare) and isinstance(node.left, ast.Subscript):
        table = node.left.value
        if isinstance(table, ast.Attribute) and table.attr == "architectures":
            for other in node.comparators:
                if isinstance(other, ast.Constant) and isinstance(other.value, str):
                    yield other.value


def _keys(node: ast.AST) -> Iterator[str]:
    """Yield ``x`` of ``config.x``, ``hasattr(config, "x")``, ``config.table["x"]`` and
    ``"x" in config.table``."""
    if isinstance(node, ast.Attribute) and _is_config(node.value):
        yield node.attr
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        asks = node.func.id in ("hasattr", "getattr") and len(node.args) > 1
        if asks and _is_config(node.args[0]):
            yield from _text(node.args[1])
    elif isinstance(node, ast.Subscript) and _is_table(node.value):
        yield from _text(node.slice)
    elif isinstance(node, ast.Compare) and any(map(_is_table, node.comparators)):
        yield from _text(node.left)


def _is_config(node: ast.expr) -> bool:
    return getattr(node, "id", getattr(node, "attr", None)) == _CONFIG


def _is_table(node: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) and _is_config(node.value)


def _text(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
