"""Parameters of LyCORIS's adapters. Free of any ML library: PEFT is imported inside the methods."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from pipeline.contract.errors import StepError
from pipeline.training.params import FinetuneParams
from pipeline.training.shapes import AdapterShape

if TYPE_CHECKING:
    from peft import PeftConfig


class LycorisShape(AdapterShape):
    """Parameters that LoHa and LoKr share. Both come from the LyCORIS project."""

    rank_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the rows of an update that a training step drops."""
    module_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the layers whose update a training step drops."""

    def _lycoris(self, common: Mapping[str, Any], tied: Collection[str]) -> dict[str, Any]:
        """Return the arguments both configurations take."""
        if parted := sorted(set(tied) & set(common["modules_to_save"] or ())):
            # PEFT ties the trained copies of tied layers for LoRA only.
            raise StepError(
                f"modules_to_save: {', '.join(parted)} shares its weight with another layer of "
                "this model, and this kind of adapter would part them",
                "leave it out, or use lora",
                "bad_input",
            )
        return {
            **common,
            "alpha": self.alpha,
            "rank_dropout": self.rank_dropout,
            "module_dropout": self.module_dropout,
        }


class LohaShape(LycorisShape):
    """The Hadamard product of two low-rank matrices (LoHa, arXiv 2108.06098): rank up to r²."""

    products: ClassVar[int] = 2

    init_weights: bool = True
    """Start without any change, instead of a random one."""

    def peft_config(self, common: Mapping[str, Any], tied: Collection[str]) -> PeftConfig:
        """Return a ``LoHaConfig``."""
        from peft import LoHaConfig

        return LoHaConfig(**self._lycoris(common, tied), init_weights=self.init_weights)


class LokrShape(LycorisShape):
    """The Kronecker product of two matrices (LoKr, arXiv 2309.14859): the fewest parameters."""

    init_weights: bool | Literal["lycoris"] = True
    """Start without any change, with the first factor zero or (``"lycoris"``) the second; ``false``
    starts with a random change."""
    decompose_both: bool = False
    """Make the first factor a product of two narrow matrices too, if that is smaller."""
    decompose_factor: int = Field(default=-1, ge=-1)
    """Largest size of the first factor; with -1 both factors are about the same size."""
    rank_dropout_scale: bool = False
    """Scale the rows that ``rank_dropout`` keeps, so that their mean stays the same."""

    @model_validator(mode="after")
    def _a_factor(self) -> Self:
        if self.decompose_factor == 0:
            raise ValueError("decompose_factor is 0: give a size, or -1 for the most even one")
        return self

    def peft_config(self, common: Mapping[str, Any], tied: Collection[str]) -> PeftConfig:
        """Return a ``LoKrConfig``."""
        from peft import LoKrConfig

        return LoKrConfig(
            **self._lycoris(common, tied),
            init_weights=self.init_weights,
            decompose_both=self.decompose_both,
            decompose_factor=self.decompose_factor,
            rank_dropout_scale=self.rank_dropout_scale,
        )


class LohaParams(LohaShape, FinetuneParams):
    """Fine-tuning with a low-rank Hadamard product adapter (LoHa, arXiv 2108.06098)."""


class LokrParams(LokrShape, FinetuneParams):
    """Fine-tuning with a Kronecker product adapter (LoKr, arXiv 2309.14859)."""
