"""Parameters of rounding with GPTQ. Free of any ML library."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from pipeline.contract.space import SpaceEstimate
from pipeline.training.layerwise_params import LayerwiseParams

_SCALE = 2
"""Bytes of a scale."""


class GptqParams(LayerwiseParams):
    """How matrices are rounded, and the texts for which their products are to stay the same."""

    damping: float = Field(default=0.01, gt=0, le=1)
    """What is added to the squares of the inputs, as a part of their mean: more trusts the texts
    less."""

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
