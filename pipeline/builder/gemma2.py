"""Makes the model builder give Gemma 2's layers the sliding windows that they have.

Every second layer has one, beginning with the first. GenAI 0.13's builder begins with the second;
later ones read the kinds of layers from the config.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from pipeline.builder.matrices import replaced

_IS_LOCAL = "is_local"


@contextlib.contextmanager
def windows_in_every_second_layer() -> Iterator[None]:
    """While entered, the builder gives Gemma 2's first layer, and then every second, a window."""
    import onnxruntime_genai.models.builder  # noqa: F401 - puts its own modules on the path

    model = sys.modules["builders.gemma"].Gemma2Model
    if _IS_LOCAL not in vars(model):
        yield
        return
    with replaced(model, _IS_LOCAL, _has_window):
        yield


def _has_window(_builder: Any, layer_id: int) -> bool:
    return layer_id % 2 == 0
