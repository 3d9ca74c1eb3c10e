"""Parameters of adapters over a base that is quantized to 4 bits. Free of any ML library."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.training.kept_base_params import KeptBaseParams
from pipeline.training.lora_params import LoraShape, LowRankShape
from pipeline.training.params import FinetuneParams
from pipeline.training.quantization import (
    BaseQuantization,
    Loftq,
    WeightsDtype,
    quantized_from,
)


class FourBitParams(FinetuneParams):
    """A base that is quantized to 4 bits while training."""

    compute_dtype: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Number format the 4-bit weights are multiplied in; ``auto`` follows ``precision``."""
    skip_modules: tuple[str, ...] = ("lm_head",)
    """Layers that are not quantized."""

    def multiplied_in(self, precision: str) -> str:
        """Return ``compute_dtype``, or ``precision`` if it is ``auto``."""
        return precision if self.compute_dtype == "auto" else self.compute_dtype


class QloraParams(LoraShape, FourBitParams):
    """Fine-tuning with an adapter over a base that is quantized to 4 bits (QLoRA, arXiv
    2305.14314)."""

    quant_type: Literal["nf4", "fp4"] = "nf4"
    """4-bit number format of the base while training. ``nf4`` (NormalFloat) has sixteen values,
    placed for weights that are normally distributed; ``fp4`` is a 4-bit floating-point number."""
    double_quant: bool = True
    """Quantize the quantization scales too: about 0.4 bit less per weight."""

    def base_quantization(self, weights_dtype: WeightsDtype) -> BaseQuantization:
        """Return the format that bitsandbytes loads the base in."""
        return BaseQuantization(
            quant_type=self.quant_type,
            double_quant=self.double_quant,
            skip_modules=self.skip_modules,
            weights_dtype=weights_dtype,
        )

    def kept_base(self) -> KeptBaseParams:
        """Return what the base in 4 bits depends on. On a CPU, ``precision = "auto"`` is fp32."""
        return KeptBaseParams(
            quant_type=self.quant_type,
            double_quant=self.double_quant,
            skip_modules=self.skip_modules,
            weights_dtype=quantized_from(self.precision),
            trust_remote_code=self.trust_remote_code,
            weights=self.weights,
        )


class LoftqParams(LowRankShape, FourBitParams):
    """Fine-tuning with an adapter over a base that is quantized to 4 bits in NF4. The adapter
    starts as the quantization error (LoftQ, arXiv 2310.08659)."""

    loftq_iter: int = Field(default=1, ge=1)
    """How many times base and adapter are fitted to the weights, alternately."""

    def base_quantization(self, weights_dtype: WeightsDtype) -> BaseQuantization:
        """Return the 4-bit format of the base, with LoftQ's number of iterations."""
        return BaseQuantization(
            quant_type="nf4",
            double_quant=False,
            skip_modules=self.skip_modules,
            weights_dtype=weights_dtype,
            loftq=Loftq(iterations=self.loftq_iter),
        )
