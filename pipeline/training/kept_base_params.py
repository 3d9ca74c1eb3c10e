"""Parameters of a base in 4 bits that trainings share. Free of any ML library.

They are apart from those of the trainings, whose changes make no other base.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pipeline.contract.space import FORMATS, SpaceEstimate, count, is_embedding
from pipeline.training.loading import ModelLoading
from pipeline.training.quantization import BaseQuantization, WeightsDtype

_BYTES_PER_WEIGHT = {False: 0.5 + 4 / 64, True: 0.5 + 1 / 64 + 4 / (64 * 256)}
"""In 4 bits, with scales of blocks of 64 in fp32, or quantized again (``double_quant``)."""
_BESIDE_WEIGHTS = 30_000_000
"""Assumed size of what lies beside the weights, mostly the tokenizer, in bytes."""


class KeptBaseParams(ModelLoading):
    """The 4-bit format of a base that trainings share, as they say it."""

    quant_type: Literal["nf4", "fp4"]
    double_quant: bool
    skip_modules: tuple[str, ...]
    weights_dtype: WeightsDtype

    @property
    def quantization(self) -> BaseQuantization:
        """Return the format that bitsandbytes loads the base in."""
        return BaseQuantization(
            quant_type=self.quant_type,
            double_quant=self.double_quant,
            skip_modules=self.skip_modules,
            weights_dtype=self.weights_dtype,
        )

    def writes(self, inputs: Mapping[str, SpaceEstimate]) -> SpaceEstimate | None:
        """Return the size of the checkpoint in 4 bits; ``None`` if the base's is unknown."""
        base = inputs.get("model")
        if base is None or base.weights is None:
            return None
        shapes = base.weights.shapes
        packed = count(
            shape
            for name, shape in shapes.items()
            if len(shape) == 2
            and not is_embedding(name)
            and not any(skipped in name for skipped in self.skip_modules)
        )
        whole = FORMATS["fp32" if self.weights_dtype == "float32" else "bf16"]
        stored = _BYTES_PER_WEIGHT[self.double_quant] * packed + whole * (
            count(shapes.values()) - packed
        )
        return SpaceEstimate(round(stored) + _BESIDE_WEIGHTS)
