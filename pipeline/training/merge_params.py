"""Parameters of the passes that merge an adapter. Free of any ML library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from pipeline.contract.space import FORMATS, Written
from pipeline.training.loading import ModelLoading


class MergeParams(ModelLoading):
    """Which base is merged into, and the number format of the result."""

    into: Literal["auto", "original", "dequantized"] = "auto"
    """Base of an adapter trained over a 4-bit base: ``dequantized`` is the one it was trained over
    (the loss stays as measured), ``original`` the one before quantization (only for QLoRA: a LoftQ
    adapter compensates what quantization lost, and fits no other base). ``auto`` is ``dequantized``
    for these, ``original`` for all others."""
    dtype: Literal["base", "fp32", "bf16", "fp16"] = "base"
    """Number format of the merged weights; the merge itself is in fp32."""

    def writes(self, inputs: Mapping[str, Written]) -> Written | None:
        """Return what the merged checkpoint takes: as much as the base, but for the format."""
        base = inputs.get("model")
        if base is None or base.weights is None or self.dtype == "base":
            return base
        size = FORMATS[self.dtype] * base.weights.count
        beside = base.kept - base.weights.bytes
        return Written(size + beside, weights=replace(base.weights, bytes=size))
