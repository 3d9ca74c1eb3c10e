"""Makes the model builder scale the embeddings of Gemma models by what transformers scales them.

That is the square root of their size. The builder rounds it to two decimals, which is exact only
where it is a whole number.
"""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Iterator
from typing import Any

from pipeline.builder.matrices import replaced


@contextlib.contextmanager
def exact_scale_of_embeddings() -> Iterator[None]:
    """While entered, the builder scales embeddings of Gemma models exactly."""
    import onnxruntime_genai.models.builder  # noqa: F401 - puts its own modules on the path

    model = sys.modules["builders.gemma"].GemmaModel
    with replaced(model, "__init__", _exact(model.__init__)):
        yield


def _exact(begin: Callable[..., None]) -> Callable[..., None]:
    def begin_exact(builder: Any, *arguments: Any, **options: Any) -> None:
        begin(builder, *arguments, **options)
        builder.embed_attrs["scale"] = math.sqrt(builder.hidden_size)

    return begin_exact
