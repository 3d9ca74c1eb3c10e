"""Makes ``k_quant`` of GenAI 0.13 quantize the output layer like all other layers.

It gives the output layer 8 bits, as ``k_quant_last`` does, and the embedding that is tied to it 4.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

from pipeline.builder.matrices import replaced

_METHOD = "make_int4_algo_config"
"""The builder's method that chooses widths, until onnxruntime_genai 0.13."""


@contextlib.contextmanager
def output_layer_as_asked() -> Iterator[None]:
    """While entered, only the algorithms whose names say so keep the output layer in 8 bits."""
    import onnxruntime_genai.models.builder  # noqa: F401 - puts its own modules on the path

    model = sys.modules["builders.base"].Model
    if not hasattr(model, _METHOD):
        yield
        return
    with replaced(model, _METHOD, _as_asked(getattr(model, _METHOD))):
        yield


def _as_asked(plain: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    def make(builder: Any, method: str) -> Any:
        config = plain(builder, method)
        if method == "k_quant":
            config.customized_weight_config.clear()
        return config

    return make
