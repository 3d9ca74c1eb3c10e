"""Parameters that adapters of every kind have. Free of any ML library."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator
from typing_extensions import Self

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
