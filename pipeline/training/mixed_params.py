"""Parameters of choosing which matrices are kept in int8. Free of any ML library."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from pipeline.contract.space import SpaceEstimate
from pipeline.training.loading import ModelLoading

_FILE = 1 << 20
"""Size of a list of widths, at most."""


class MixedPrecisionParams(ModelLoading):
    """How the matrices that are kept in int8 are chosen, and how many they may be."""

    choose: Literal["sensitivity", "k_quant_last", "k_quant_down", "k_quant_mixed"] = "sensitivity"
    """``sensitivity``: those whose rounding to int4 changes the model's predictions most, per
    weight, measured on the training part. The others need no data and are rules of llama.cpp:
    ``k_quant_last`` takes the output layer, ``k_quant_down`` also ``down_proj`` of the first and
    last eighth of the layers and of every third between, ``k_quant_mixed`` also query, key and
    value projections of these layers."""
    int8_share: float = Field(default=0.2, gt=0, lt=1)
    """Largest share of the weights of all linear layers that is kept in int8, with ``sensitivity``:
    each tenth makes the artifact about a tenth larger."""
    output_layer: Literal["int8"] | None = None
    """Keep the output layer in int8 in any case, beside the share. Default: as all others."""
    block_size: Literal[16, 32, 64, 128, 256] = 32
    """Weights that share one scale while it is measured, as of the following ``model_builder``."""
    samples: int = Field(default=128, ge=1)
    """Number of rows of the training part that are looked at, chosen at random. More cost time in
    proportion."""
    max_length: int = Field(default=256, ge=8)
    """Length in tokens after which a row is cut."""
    save_layers: int | None = Field(default=None, ge=1)
    """Layers, of those that it goes back through, after which an interrupted run can go on.
    Default: as many as take ten minutes."""

    @property
    def measures(self) -> bool:
        """Return whether it looks at data."""
        return self.choose == "sensitivity"

    def writes(self, inputs: Mapping[str, SpaceEstimate]) -> SpaceEstimate:  # noqa: ARG002
        """Return the size of a list."""
        return SpaceEstimate(_FILE)
