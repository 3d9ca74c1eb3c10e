"""Parameters of low-rank adapters. Free of any ML library: PEFT is imported inside the methods."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from pipeline.training.params import FinetuneParams
from pipeline.training.shapes import AdapterShape

if TYPE_CHECKING:
    from peft import PeftConfig


class LowRankShape(AdapterShape):
    """The update is ``alpha / r * B A``, the product of two narrow matrices (LoRA, arXiv
    2106.09685)."""

    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout before the adapter's first matrix."""
    use_rslora: bool = False
    """Scale the update by ``alpha / sqrt(r)`` instead (rank-stabilised LoRA, arXiv 2312.03732)."""
    bias: Literal["none", "all", "lora_only"] = "none"
    """Which bias vectors are trained."""

    def peft_config(self, common: Mapping[str, Any], tied: Collection[str]) -> PeftConfig:
        """Return a ``LoraConfig``."""
        from peft import LoraConfig

        return LoraConfig(
            **common,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            use_rslora=self.use_rslora,
            bias=self.bias,
            ensure_weight_tying=bool(tied),
        )


class LoraShape(LowRankShape):
    """LoRA over an unquantized base."""

    use_dora: bool = False
    """Weight-decomposed adaptation (arXiv 2402.09353): slower, better at low ranks."""
    init_lora_weights: Literal["default", "gaussian"] = "default"
    """Initialization of the first matrix: Kaiming uniform (``default``) or normal. The second one
    is zero, so that the adapter starts without any change. PEFT's initializations that change the
    weights of the base (PiSSA, OLoRA) are not offered, because the adapter would be merged into
    another base than it was trained over. The ``loftq`` pass handles this."""

    def peft_config(self, common: Mapping[str, Any], tied: Collection[str]) -> PeftConfig:
        """Return a ``LoraConfig``."""
        start = True if self.init_lora_weights == "default" else self.init_lora_weights
        options = {"use_dora": self.use_dora, "init_lora_weights": start}
        return super().peft_config({**common, **options}, tied)


class LoraParams(LoraShape, FinetuneParams):
    """Fine-tuning with a low-rank adapter. The defaults suit a few hundred to a few thousand short
    rows."""
