"""Parameters of scaling with AWQ. Free of any ML library."""

from __future__ import annotations

from pipeline.training.layerwise_params import LayerwiseParams


class AwqParams(LayerwiseParams):
    """How matrices will be rounded, and the texts for which their products are to stay the same."""
