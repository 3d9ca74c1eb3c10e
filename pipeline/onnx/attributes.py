"""Checks that the attributes of attention and norms in a graph are those of the model.

The model builder looks for the settings of a model in places of its own, and takes a default for
what it does not find. A window or a cap that is left out shows in few texts only.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.onnx.graph import OnnxModel, attributes

_ATTENTION = "GroupQueryAttention"
_NORMS = (
    "LayerNormalization",
    "SimplifiedLayerNormalization",
    "SkipLayerNormalization",
    "SkipSimplifiedLayerNormalization",
)
_LAYER = re.compile(r"layers\.(\d+)/")


@dataclass(frozen=True)
class Attention:
    """What the attention of one layer does, in the words of ``GroupQueryAttention``."""

    scale: float
    """Factor of the products of queries and keys."""
    softcap: float = 0.0
    """``c`` in ``c tanh(x / c)``, which is applied to the scaled products; 0 for none."""
    window: int = -1
    """How many tokens, its own included, a token sees; -1 for all before it."""


@dataclass(frozen=True)
class Architecture:
    """What a model does between its matrices."""

    attention: Mapping[int, Attention]
    """By layer; layers without attention are left out."""
    epsilons: frozenset[float]
    """What norms add to a variance; empty where that is not known."""
    norms_subtract_mean: bool | None = None
    """``None`` where that is not known, or where some do and some do not."""


def attribute_problems(model: OnnxModel, wanted: Architecture) -> list[str]:
    """Return where the attributes of ``model`` are not those of ``wanted``, one sentence each."""
    return [*_attention(model, wanted), *_norms(model, wanted)]


def _attention(model: OnnxModel, wanted: Architecture) -> Iterator[str]:
    for node in model.of_type(_ATTENTION):
        layer = _LAYER.search(node.name)
        expected = wanted.attention.get(int(layer[1])) if layer else None
        if expected is None:
            continue
        facts = attributes(node)
        pairs = {
            # 0 stands for the default, which the size of a head decides.
            "scale": (facts.get("scale") or expected.scale, expected.scale),
            "softcap": (facts.get("softcap", 0.0), expected.softcap),
            "local_window_size": (facts.get("local_window_size", -1), expected.window),
        }
        for name, (ours, theirs) in pairs.items():
            if not _is_close(ours, theirs):
                yield f"{node.name}: {name} is {ours:g}, the model's is {theirs:g}"


def _norms(model: OnnxModel, wanted: Architecture) -> Iterator[str]:
    for node in model.of_type(*_NORMS):
        subtracts = "Simplified" not in node.op_type
        if wanted.norms_subtract_mean not in (None, subtracts):
            said = ("a mean", "none") if subtracts else ("no mean", "the mean")
            yield f"{node.name}: it subtracts {said[0]}, the model's {said[1]}"
        ours = attributes(node).get("epsilon")
        if ours is None or not wanted.epsilons:
            continue
        if not any(_is_close(ours, theirs) for theirs in wanted.epsilons):
            known = ", ".join(f"{value:g}" for value in sorted(wanted.epsilons))
            yield f"{node.name}: epsilon is {ours:g}, the model's is {known}"


def _is_close(ours: Any, theirs: float) -> bool:
    """Return whether they differ by rounding to fp32 at most."""
    return math.isclose(float(ours), theirs, rel_tol=1e-6)
