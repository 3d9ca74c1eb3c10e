"""Parameters of scaling with AWQ. Free of any ML library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pipeline.contract.space import FORMATS, SpaceEstimate, count
from pipeline.training.layerwise_params import LayerwiseParams


class AwqParams(LayerwiseParams):
    """How matrices will be rounded, and the texts for which their products are to stay the same."""

    def writes(self, inputs: Mapping[str, SpaceEstimate]) -> SpaceEstimate | None:
        """Return the size of the weights, of which those of matrices are in fp32."""
        model = inputs.get("model")
        if model is None or model.weights is None:
            return None
        weights = model.weights
        scaled = count(shape for name, shape in weights.linear.items() if name in weights.shapes)
        others = weights.bytes * (weights.count - scaled) / max(weights.count, 1)
        size = max(weights.bytes, round(FORMATS["fp32"] * scaled + others))
        return SpaceEstimate(model.kept + size - weights.bytes, 0, replace(weights, bytes=size))
