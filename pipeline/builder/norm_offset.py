"""Makes the model builder add the one to the weights of norms that store them without it, in fp32.

Gemma's and Nemotron's do. The builder adds it in the format of the checkpoint: in bf16 the sum of
one and a small weight keeps two digits, and transformers computes it in the format of the model.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

from pipeline.builder.matrices import replaced


@contextlib.contextmanager
def offset_of_norms_in_fp32() -> Iterator[None]:
    """While entered, the builder adds offsets to weights of norms in fp32."""
    import onnxruntime_genai.models.builder  # noqa: F401 - puts its own modules on the path

    model = sys.modules["builders.base"].Model
    with replaced(model, "make_model", _in_fp32(model.make_model)):
        yield


def _in_fp32(make_model: Callable[..., None]) -> Callable[..., None]:
    def make(builder: Any, *arguments: Any, **options: Any) -> None:
        import torch

        offset = builder.layernorm_attrs.get("add_offset", 0)
        if offset:
            # With a tensor of one dimension the sum has the wider format; with a number it has not.
            # https://docs.pytorch.org/docs/stable/tensor_attributes.html#type-promotion-doc
            builder.layernorm_attrs["add_offset"] = torch.full((1,), offset, dtype=torch.float32)
        make_model(builder, *arguments, **options)

    return make
