"""Parameters of rounding with GPTQ. Free of any ML library."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from pipeline.contract.space import SpaceEstimate
from pipeline.training.loading import ModelLoading

_BITS = {"int4": 4, "int8": 8}
_SCALE = 2
"""Bytes of a scale."""


class GptqParams(ModelLoading):
    """How matrices are rounded, and the texts for which their products are to stay the same."""

    precision: Literal["int4", "int8"] = "int4"
    """Type of the weights, as of the following ``model_builder``."""
    block_size: Literal[16, 32, 64, 128, 256] = 32
    """Weights that share one scale, as of the following ``model_builder``."""
    symmetric: bool = False
    """Round around zero, without zero points. ``model_builder`` then needs none: with its
    ``algorithm = "default"`` the artifact is as small as without this pass."""
    damping: float = Field(default=0.01, gt=0, le=1)
    """What is added to the squares of the inputs, as a part of their mean: more trusts the texts
    less."""
    samples: int = Field(default=256, ge=1)
    """Number of rows of the training part, chosen at random. More cost time in proportion."""
    max_length: int = Field(default=512, ge=8)
    """Length in tokens after which a row is cut."""
    save_layers: int | None = Field(default=None, ge=1)
    """Layers after which an interrupted run can go on. Default: as many as take ten minutes."""

    @property
    def bits(self) -> int:
        """Return the width of an integer."""
        return _BITS[self.precision]

    def writes(self, inputs: Mapping[str, SpaceEstimate]) -> SpaceEstimate | None:
        """Return the size of the integers and their scales, once more for what an interrupted run
        leaves, and of the weights that stay as they are."""
        model = inputs.get("model")
        if model is None or model.weights is None:
            return None
        weights = model.weights
        rounded = sum(
            rows * columns
            for name, (rows, columns) in weights.linear.items()
            if name in weights.shapes and "lm_head" not in name
        )
        each = self.bits / 8 + (_SCALE + self.bits / 8) / self.block_size
        others = weights.bytes * (weights.count - rounded) / max(weights.count, 1)
        size = round(rounded * each + others)
        return SpaceEstimate(size + model.kept - weights.bytes, temporary=size)
