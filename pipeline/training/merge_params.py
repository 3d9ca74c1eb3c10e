"""Parameters of merging an adapter. Free of any ML library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from pipeline.contract.space import FORMATS, SpaceEstimate
from pipeline.training.loading import ModelLoading


class MergeParams(ModelLoading):
    """Which base the adapter is merged into, and the number format of the result."""

    into: Literal["auto", "original", "dequantized"] = "auto"
    """The base that an adapter trained over a 4-bit base is merged into. ``dequantized``: that
    4-bit base, dequantized, so that the loss stays as measured. ``original``: the base before
    quantization; only for QLoRA, since a LoftQ adapter also corrects the quantization error and
    fits no other base. ``auto``: ``dequantized`` for these adapters, ``original`` for all others.
    """
    dtype: Literal["base", "fp32", "bf16", "fp16"] = "base"
    """Number format of the merged weights; the merge itself is in fp32."""

    def writes(self, inputs: Mapping[str, SpaceEstimate]) -> SpaceEstimate | None:
        """Return the size of the merged checkpoint: that of the base, in the format ``dtype``."""
        base = inputs.get("model")
        if base is None or base.weights is None or self.dtype == "base":
            return base
        size = FORMATS[self.dtype] * base.weights.count
        other_files = base.kept - base.weights.bytes
        return SpaceEstimate(size + other_files, weights=replace(base.weights, bytes=size))
