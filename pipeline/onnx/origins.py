"""Maps the matrices of a graph to the rows of the checkpoint from which they were made.

The model builder names a layer's matrices ``model.layers.7.attn.qkv_proj...``. It joins projections
that are separate in the checkpoint (``q_proj``, ``k_proj``, ``v_proj``) and splits those that are
joined there (Phi-3's ``qkv_proj`` and ``gate_up_proj``), in both cases by rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from pipeline.onnx.checkpoint import Checkpoint

_IN_GRAPH = re.compile(r"layers\.(?P<layer>\d+)\..*?(?P<projection>\w+)\.MatMul\.weight")
_IN_CHECKPOINT = re.compile(r"layers\.(?P<layer>\d+)\..*?(?P<projection>\w+)\.weight$")
_JOINED = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}
"""Projections that are stored either joined or separately, in the order of their rows."""
_IN_BUILDER = {
    "dense": "o_proj",
    "out_proj": "o_proj",
    "w1": "gate_proj",
    "w2": "down_proj",
    "w3": "up_proj",
}
"""Names of projections in checkpoints (Phi-2, LFM2), and what the builder calls them."""
HEAD = "lm_head"
"""What the builder calls the output layer."""


@dataclass(frozen=True)
class Origin:
    """Rows of a matrix of the graph, and the corresponding rows of the checkpoint."""

    layer: str
    """Name for messages: ``layer 7 k_proj``."""
    first: int
    """Number of the first row in the graph's matrix."""
    count: int
    tensor: str
    """Name of the checkpoint's tensor."""
    tensor_first: int
    """Number of the first row in that tensor."""


@dataclass(frozen=True)
class Origins:
    """Finds the checkpoint's rows for the matrices of the graph."""

    checkpoint: Checkpoint

    def of(self, name: str, rows: int) -> list[Origin]:
        """Return the origins of all ``rows`` rows of the graph's matrix ``name``, without gaps.

        Empty if the checkpoint has no such matrix or one of another size.
        """
        if name.startswith(HEAD):
            return self._head(rows)
        match = _IN_GRAPH.search(name)
        if match is None:
            return []
        projections = self._layers.get(int(match["layer"]), {})
        projection = match["projection"]
        parts = [part for part in _JOINED.get(projection, ()) if part in projections] or [
            projection
        ]
        origins: list[Origin] = []
        for part in parts:
            if part not in projections:
                return []
            tensor, first, count = projections[part]
            at = sum(origin.count for origin in origins)
            layer = f"layer {match['layer']} {part}"
            origins.append(Origin(layer, at, count, tensor, first))
        return origins if sum(origin.count for origin in origins) == rows else []

    def _head(self, rows: int) -> list[Origin]:
        shapes = self.checkpoint.shapes
        names = [name for name in shapes if name.endswith(f"{HEAD}.weight")]
        names = names or [*self.checkpoint.tensors.embedding]
        # The builder may leave out rows of the vocabulary that no token uses.
        if not names or shapes[names[0]][0] < rows:
            return []
        return [Origin(HEAD, 0, rows, names[0], 0)]

    @property
    def _layers(self) -> Mapping[int, Mapping[str, tuple[str, int, int]]]:
        """Return tensor, first row and number of rows of every projection, per layer; of joined
        ones also the parts."""
        layers: dict[int, dict[str, tuple[str, int, int]]] = {}
        for name, shape in self.checkpoint.shapes.items():
            match = _IN_CHECKPOINT.search(name)
            if match is None or len(shape) != 2:
                continue
            layer = layers.setdefault(int(match["layer"]), {})
            rows = layer[match["projection"]] = (name, 0, shape[0])
            layer.setdefault(_IN_BUILDER.get(match["projection"], match["projection"]), rows)
            for part, first, count in self._parts(match["projection"], shape[0]):
                layer[part] = (name, first, count)
        return layers

    def _parts(self, projection: str, rows: int) -> Iterator[tuple[str, int, int]]:
        """Yield the parts of a joined projection, with their first rows and numbers of rows."""
        parts = _JOINED.get(projection)
        if parts is None:
            return
        sizes = self._query_key_value if len(parts) == 3 else (rows // 2, rows // 2)
        if sum(sizes) == rows:
            yield from zip(parts, (0, *accumulate(sizes)), sizes, strict=False)

    @property
    def _query_key_value(self) -> tuple[int, int, int]:
        config: Mapping[str, Any] = self.checkpoint.config
        size = self.checkpoint.head_size or 0
        heads = int(config.get("num_attention_heads") or 0)
        shared = int(config.get("num_key_value_heads") or heads)
        return heads * size, shared * size, shared * size
