"""Makes the model builder leave SmolLM3's layers without positions as they are.

Every fourth layer of SmolLM3 has no rotary positions. For such a layer the builder only moves them
out of the attention into nodes of their own, which read positions that the graph does not have.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

from pipeline.builder.matrices import replaced


@contextlib.contextmanager
def layers_without_positions() -> Iterator[None]:
    """While entered, the builder gives SmolLM3's layers positions as its config says."""
    import onnxruntime_genai.models.builder  # noqa: F401 - puts its own modules on the path

    model = sys.modules["builders.smollm"].SmolLM3Model
    with replaced(model, "make_attention", _with_positions_of_its_own(model.make_attention)):
        yield


def _with_positions_of_its_own(make_attention: Callable[..., None]) -> Callable[..., None]:
    def make(builder: Any, layer_id: int, *arguments: Any, **options: Any) -> None:
        attributes, layers = builder.attention_attrs, builder.no_rope_layers
        rope = bool(layers[layer_id])
        attributes["rope"] = rope
        # By this list the builder decides whether positions are within the attention.
        builder.no_rope_layers = [rope and attributes["use_rope_in_attn"]] * len(layers)
        try:
            make_attention(builder, layer_id, *arguments, **options)
        finally:
            attributes["rope"], builder.no_rope_layers = True, layers

    return make
