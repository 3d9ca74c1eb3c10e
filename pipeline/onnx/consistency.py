"""Checks that ``genai_config.json``, the graph and the checkpoint agree with each other.

Each function returns a list of problems, one sentence each; an empty list if there are none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from pipeline.evaluation.settings import shipped
from pipeline.onnx.checkpoint import Checkpoint, as_ids
from pipeline.onnx.genai_config import GenAiConfig
from pipeline.onnx.graph import OnnxModel, attributes, dimensions

_ATTENTION = ("GroupQueryAttention", "MultiHeadAttention", "PagedAttention", "Attention")


def config_and_graph(config: GenAiConfig, model: OnnxModel) -> list[str]:
    """Check that inputs, outputs and sizes of the graph are those in the config."""
    problems: list[str] = []
    for group, values in (("inputs", model.graph.input), ("outputs", model.graph.output)):
        named, real = config.names(group), {value.name for value in values}
        real -= set(model.initializers)
        patterns = config.patterns(group)
        named |= {name for names in patterns for name in names if name in real}
        problems += _layers_without(group, patterns, real)
        problems += [f"{group}: the graph has no {name}" for name in sorted(named - real)]
        if group == "inputs":  # unread outputs, such as hidden states, do no harm
            problems += [f"{group}: the config names no {name}" for name in sorted(real - named)]
    problems += _vocabulary(config, model)
    problems += _attention(config, model)
    problems += _positions(config, model)
    return problems


def _layers_without(
    group: str, patterns: Sequence[Sequence[str]], real: AbstractSet[str]
) -> Iterator[str]:
    """Yield a problem for each layer for which the graph has nothing, and each pattern of names of
    which it has none."""
    for names in patterns:
        if real.isdisjoint(names):
            yield f"{group}: the graph has no {names[0]}, nor for another layer"
    for names in zip(*patterns, strict=True):
        if real.isdisjoint(names):
            yield f"{group}: the graph has no {' or '.join(names)}"


def config_and_checkpoint(config: GenAiConfig, checkpoint: Checkpoint) -> list[str]:
    """Check that sizes and end tokens are those of the checkpoint the artifact was built from."""
    theirs = checkpoint.config
    pairs = {
        "num_hidden_layers": (config.layers, theirs.get("num_hidden_layers")),
        "hidden_size": (config.decoder.get("hidden_size"), theirs.get("hidden_size")),
        "head_size": (config.decoder.get("head_size"), checkpoint.head_size),
        "num_attention_heads": (
            config.decoder.get("num_attention_heads"),
            theirs.get("num_attention_heads"),
        ),
        "num_key_value_heads": (
            config.decoder.get("num_key_value_heads"),
            theirs.get("num_key_value_heads"),
        ),
        "vocab_size": (config.vocabulary, theirs.get("vocab_size")),
        "context_length": (config.context, theirs.get("max_position_embeddings")),
    }
    problems = [
        f"{name} is {ours}, the checkpoint has {other}"
        for name, (ours, other) in pairs.items()
        if other is not None and ours != other
    ]
    missing = sorted(set(checkpoint.end_ids) - set(config.end_ids))
    if missing:
        problems.append(f"eos_token_id lacks {missing}, at which the checkpoint ends")
    return problems


def answers_of_checkpoint(
    config: GenAiConfig, checkpoint: Checkpoint, asked: Mapping[str, Any]
) -> list[str]:
    """Check that answers are chosen as those of the checkpoint are, except for what the pass was
    ``asked`` to write otherwise."""
    found = config.raw.get("search", {})
    return [
        f"search.{name} is {json.dumps(found.get(name))}, the checkpoint is asked with "
        f"{json.dumps(value)}"
        for name, value in {**shipped(checkpoint.generation_config), **asked}.items()
        if found.get(name) != value
    ]


def search_settings(config: GenAiConfig) -> list[str]:
    """Check that generation can end, and that the default length fits into the context."""
    problems = []
    if not config.end_ids:
        problems.append("eos_token_id is empty: generation never ends")
    problems += [
        f"{name} {token} is not a token of the vocabulary of {config.vocabulary}"
        for name in ("eos_token_id", "bos_token_id", "pad_token_id")
        for token in as_ids(config.model.get(name))
        if not 0 <= token < config.vocabulary
    ]
    length = config.raw.get("search", {}).get("max_length")
    if length is not None and int(length) > config.context:
        problems.append(f"search.max_length {length} exceeds the context of {config.context}")
    return problems


def _vocabulary(config: GenAiConfig, model: OnnxModel) -> Iterator[str]:
    for value in model.graph.output:
        if value.name == config.logits:
            last = dimensions(value)[-1]
            if last != config.vocabulary:
                yield f"vocab_size is {config.vocabulary}, the logits have {last}"


def _layers_with_keys(config: GenAiConfig, model: OnnxModel) -> int:
    """Return how many layers have a cache of keys: in hybrid models (LFM2), some have another
    state."""
    pattern = str(config.decoder.get("inputs", {}).get("past_key_names", ""))
    if "%d" not in pattern:
        return config.layers
    real = {value.name for value in model.graph.input}
    return sum(pattern % layer in real for layer in range(config.layers))


def _attention(config: GenAiConfig, model: OnnxModel) -> Iterator[str]:
    layers = model.of_type(*_ATTENTION)
    caches = _layers_with_keys(config, model)
    if layers and len(layers) != caches:
        yield f"{caches} layers have a cache of keys, the graph has {len(layers)} attention layers"
    names = {"num_heads": "num_attention_heads", "kv_num_heads": "num_key_value_heads"}
    for theirs, ours in names.items():
        values = {int(facts[theirs]) for facts in map(attributes, layers) if theirs in facts}
        if values and values != {config.decoder.get(ours)}:
            yield f"{ours} is {config.decoder.get(ours)}, the graph has {sorted(values)}"
    makers = {name: node for node in model.nodes for name in node.output}
    size = config.decoder.get("head_size")
    for node in model.of_type("MatMulNBits", "MatMul"):
        source = makers.get(node.input[0])
        if source is None or source.op_type not in _ATTENTION:
            continue
        heads = attributes(source).get("num_heads")
        width = linear_inputs(model, node)
        if heads and size and width is not None and width != heads * size:
            yield f"head_size is {size}, {node.name} reads {width} values from {heads} heads"


def linear_inputs(model: OnnxModel, node: Any) -> int | None:
    """Return the number of inputs of a linear layer; ``None`` if it is unknown."""
    if node.op_type == "MatMulNBits":
        return int(attributes(node)["K"])
    tensor = model.initializers.get(node.input[1])
    return int(tensor.dims[0]) if tensor is not None else None


def _positions(config: GenAiConfig, model: OnnxModel) -> Iterator[str]:
    """Check that the rotary tables have a row for every position of the context."""
    for node in model.of_type("GroupQueryAttention", "RotaryEmbedding"):
        for name in node.input:
            tensor = model.initializers.get(name)
            if tensor is not None and "cos_cache" in name and tensor.dims[0] < config.context:
                yield f"context_length is {config.context}, {name} ends at {tensor.dims[0]}"
                return
