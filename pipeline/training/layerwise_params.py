"""Parameters of passes that look at a model layer by layer. Free of any ML library."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.training.loading import ModelLoading

_BITS = {"int4": 4, "int8": 8}


class LayerwiseParams(ModelLoading):
    """How matrices are rounded, and the texts for which their products are to stay the same."""

    precision: Literal["int4", "int8"] = "int4"
    """Type of the weights, as of the following ``model_builder``."""
    block_size: Literal[16, 32, 64, 128, 256] = 32
    """Weights that share one scale, as of the following ``model_builder``."""
    symmetric: bool = False
    """Round around zero, without zero points. ``model_builder`` then needs none: with its
    ``algorithm = "default"`` the artifact is as small as without this pass."""
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
