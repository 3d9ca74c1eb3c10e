"""Parameters of the kinds of adapters, and the PEFT configurations for them.

Free of any ML library: PEFT is imported inside the methods.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator
from typing_extensions import Self

from pipeline.contract.errors import StepError
from pipeline.contract.frozen import Frozen
from pipeline.contract.space import FORMATS, Weights, count

if TYPE_CHECKING:
    from peft import PeftConfig

BY_RULE = ("all-linear", "auto")
"""Keywords that can be given instead of layer names."""

_NAMING_MODULES = ("target_modules", "exclude_modules", "modules_to_save")

SMALL_EMBEDDING = 4_000_000
"""An embedding with at most this many weights is trained as a whole by default."""


def _is_regex(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return pattern


Modules = tuple[str, ...] | Annotated[str, AfterValidator(_is_regex)]
"""Module names (their last parts), or one regular expression over whole module paths."""


class AdapterShape(Frozen):
    """Parameters of adapters of every kind: their rank, and the layers that get one."""

    r: int = Field(default=64, ge=1)
    """Rank of the update."""
    alpha: float = Field(default=64, gt=0)
    """The update is scaled by ``alpha / r``."""
    target_modules: Modules | Literal["all-linear", "auto"] = "all-linear"
    """Names of the layers that get an adapter, or a regular expression for whole module paths.
    ``"all-linear"``: every linear layer but the output layer. ``"auto"``: those that PEFT names for
    the model's type (for Phi-3, ``qkv_proj`` and ``o_proj``), or ``"all-linear"`` if it names
    none."""
    exclude_modules: Modules = ()
    """Names of layers that get no adapter although ``target_modules`` covers them, or a regular
    expression for whole module paths."""
    modules_to_save: tuple[str, ...] | None = None
    """Layers that are trained as a whole and saved with the adapter, e.g. ``embed_tokens`` and
    ``lm_head``. Default: none, or ``embed_tokens`` if it has at most 4 million weights, since so
    small a model hardly knows the words of the data."""
    rank_pattern: dict[str, int] = Field(default_factory=dict)
    """Another rank for layers whose path ends with the key or matches it."""
    alpha_pattern: dict[str, float] = Field(default_factory=dict)
    """Another alpha for layers whose path ends with the key or matches it."""
    layers: tuple[int, ...] | None = None
    """Only these decoder layers, counted from 0."""
    layers_pattern: tuple[str, ...] = ()
    """Name of the list of layers that ``layers`` refers to, if not ``layers`` or ``h``."""

    products: ClassVar[int] = 1
    """Largest number of products of two narrow matrices in the update of one layer."""

    def stored(self, weights: Weights) -> int:
        """Return the size in bytes of an adapter for ``weights``, in fp32."""
        saved_whole = {
            name: shape
            for name, shape in weights.shapes.items()
            if _last_part(name) in (self.modules_to_save or ())
        }
        small = count(weights.embedding.values()) <= SMALL_EMBEDDING
        if self.modules_to_save is None and small and not weights.tied:
            saved_whole |= weights.embedding
        sides = sum(sum(shape) for name, shape in weights.linear.items() if self._covers(name))
        return FORMATS["fp32"] * (self.products * self.r * sides + count(saved_whole.values()))

    def _covers(self, tensor: str) -> bool:
        """Return whether the layer with this tensor may get an adapter."""
        if isinstance(self.target_modules, tuple):
            return _last_part(tensor) in self.target_modules
        if self.target_modules in BY_RULE:
            return "lm_head" not in tensor
        return re.fullmatch(self.target_modules, tensor.removesuffix(".weight")) is not None

    def missing_modules(
        self, modules: Collection[str], keys: Sequence[str] = _NAMING_MODULES
    ) -> Iterator[tuple[str, str]]:
        """Yield (key, what is wrong) for each of ``keys`` that names layers which a model does not
        have. ``modules`` are the whole paths of its layers."""
        for key in keys:
            names = getattr(self, key) or ()
            if isinstance(names, str):
                if names not in BY_RULE and not any(re.fullmatch(names, one) for one in modules):
                    yield key, f"{names!r} matches no layer"
                continue
            missing = [
                name for name in names if not any(f".{one}".endswith(f".{name}") for one in modules)
            ]
            if missing:
                yield key, f"there is no {', '.join(missing)}"

    @abstractmethod
    def peft_config(self, common: Mapping[str, Any], tied: Collection[str]) -> PeftConfig:
        """Return PEFT's configuration of this kind of adapter.

        ``common`` are the fields above by PEFT's names, ``tied`` the names of layers that share one
        weight. Raises :class:`StepError` if this kind does not support the model.
        """

    @model_validator(mode="after")
    def _modules_fit_together(self) -> Self:
        if self.layers is not None and (
            isinstance(self.target_modules, str) and self.target_modules not in BY_RULE
        ):
            raise ValueError("layers needs target_modules as names; put the layer into the regex")
        if self.layers_pattern and self.layers is None:
            raise ValueError("layers_pattern needs layers, the numbers that count in it")
        if isinstance(self.target_modules, tuple) and not self.target_modules:
            raise ValueError("target_modules is empty: nothing would be trained")
        both = set(self.modules_to_save or ()) & set(
            self.target_modules if isinstance(self.target_modules, tuple) else ()
        )
        if both:
            raise ValueError(
                f"{', '.join(sorted(both))} in both target_modules and modules_to_save"
            )
        return self


def _last_part(tensor: str) -> str:
    """Return the name of the layer that a tensor belongs to: ``o_proj`` of ``0.o_proj.weight``."""
    return tensor.removesuffix(".weight").rpartition(".")[2]


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
