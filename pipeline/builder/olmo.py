"""Makes the model builder give OLMo the norms that it has.

They subtract the mean and have no weights. The builder gives them weights of one, and does not
subtract the mean.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

from pipeline.builder.matrices import replaced


@contextlib.contextmanager
def norms_that_subtract_the_mean() -> Iterator[None]:
    """While entered, the norms that the builder makes for OLMo subtract the mean."""
    import onnxruntime_genai.models.builder  # noqa: F401 - puts its own modules on the path

    model = sys.modules["builders.olmo"].OLMoModel
    with replaced(model, "make_layernorm", _subtracting(model.make_layernorm)):
        yield


def _subtracting(make_layernorm: Callable[..., None]) -> Callable[..., None]:
    def make(
        builder: Any, layer_id: int, layernorm: Any, skip: bool, simple: bool, location: str
    ) -> None:
        del simple
        make_layernorm(builder, layer_id, layernorm, skip, simple=False, location=location)

    return make
