"""Where a layer's matrices can have their inputs scaled without changing what the layer computes.

Columns of a matrix can be multiplied by factors if what makes its inputs is divided by them: the
weight of a norm, or rows of a matrix whose outputs reach the inputs unchanged but for products and
sums (the values of attention, the part of a gated MLP without activation). No family's names are
known here. Whether a place will do is tried: the layer must give the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from pipeline.builder.awq import factors
from pipeline.training.calibration import Calibration

Array = Any
_SAME = 1e-4
"""By how much a layer's outputs may differ, relative to their norm: by what fp32 rounds. A factor
in one place only makes a thousand times as much."""
_LARGEST_TRIED = 8
"""Exponent of the largest factor that is tried."""


@dataclass
class Exponents:
    """Exponents of the factors by which weights are multiplied, by the names of the weights."""

    rows: dict[str, Array] = field(default_factory=dict)
    """One for each output; of a norm, for each of its numbers."""
    columns: dict[str, Array] = field(default_factory=dict)
    """One for each input."""
    plus_one: set[str] = field(default_factory=set)
    """Norms that add 1 to their weight."""

    def add(self, other: Exponents) -> None:
        """Multiply by ``other`` as well."""
        for mine, theirs in ((self.rows, other.rows), (self.columns, other.columns)):
            for name, exponents in theirs.items():
                mine[name] = mine[name] + exponents if name in mine else exponents
        self.plus_one |= other.plus_one

    @property
    def names(self) -> set[str]:
        """Return the names of the weights that are changed."""
        return self.rows.keys() | self.columns.keys()

    def applied(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        """Return ``weight`` multiplied, in fp32."""
        weight = weight.float()
        if name in self.columns:
            weight = weight * torch.from_numpy(factors(self.columns[name]))
        if name in self.rows:
            of_rows = torch.from_numpy(factors(self.rows[name]))
            of_rows = of_rows.reshape(-1, *([1] * (weight.dim() - 1)))
            one = 1 if name in self.plus_one else 0
            weight = (weight + one) * of_rows - one if one else weight * of_rows
        return weight


@dataclass(frozen=True)
class Fold:
    """A place for factors: matrices that read the same, and what makes their inputs."""

    readers: tuple[str, ...]
    """Names of the weights of the matrices."""
    parameters: Mapping[str, int]
    """By the name of each weight or bias of the producer, the part that makes their inputs, its
    number of rows."""
    first: int
    """Row of the producer that makes the first factor's numbers."""
    sources: Array
    """[inputs]: which of the factors, from 0 on, is that of an input. Heads of attention may share
    their values."""
    plus_one: bool = False
    """Whether the producer is a norm that adds 1 to its weight."""

    @property
    def count(self) -> int:
        """Return the number of factors."""
        return int(self.sources.max()) + 1

    def exponents(self, of_factors: Array) -> Exponents:
        """Return what is multiplied where the readers' columns are multiplied by factors with these
        exponents."""
        made = Exponents()
        for name in self.readers:
            made.columns[name] = of_factors[self.sources]
        for name, rows in self.parameters.items():
            whole = np.zeros(rows, of_factors.dtype)
            whole[self.first : self.first + self.count] = -of_factors
            made.rows[name] = whole
        if self.plus_one:
            made.plus_one.update(name for name in self.parameters if name.endswith(".weight"))
        return made


def folds_of(
    layer: torch.nn.Module, calibration: Calibration, heads_per_value: int
) -> tuple[list[Fold], list[str]]:
    """Return the places in ``layer``, which has its weights, and the names of the weights of
    matrices that have none.

    ``heads_per_value`` is how many heads of attention share their values.
    """
    found: list[Fold] = []
    without: list[str] = []
    right = calibration.tried(layer)
    for readers, makers in _groups(layer, calibration):
        candidates = _candidates(readers, makers, layer, calibration, heads_per_value)
        fold = next((one for one in candidates if _holds(one, layer, calibration, right)), None)
        if fold is None:
            without += [f"{calibration.names[reader]}.weight" for reader in readers]
        else:
            found.append(fold)
    return found, without


def _groups(
    layer: torch.nn.Module, calibration: Calibration
) -> list[tuple[list[torch.nn.Linear], list[torch.nn.Module]]]:
    """Return the matrices of ``layer`` in groups that read the same tensor, each with the parts
    that returned this very tensor."""
    read: list[tuple[torch.Tensor, list[torch.nn.Linear]]] = []
    made: list[tuple[torch.Tensor, torch.nn.Module]] = []

    def reads(module: torch.nn.Linear, arguments: tuple[torch.Tensor, ...]) -> None:
        group = next((group for tensor, group in read if tensor is arguments[0]), None)
        if group is None:
            read.append((arguments[0], group := []))
        group.append(module)

    def makes(module: torch.nn.Module, _: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor):
            made.append((output, module))

    hooks = [part.register_forward_hook(makes) for part in layer.modules() if part is not layer]
    hooks += [
        part.register_forward_pre_hook(reads)
        for part in layer.modules()
        if isinstance(part, torch.nn.Linear)
    ]
    try:
        calibration.tried(layer)
    finally:
        for hook in hooks:
            hook.remove()
    return [
        (group, [module for output, module in made if output is tensor]) for tensor, group in read
    ]


def _candidates(
    readers: Sequence[torch.nn.Linear],
    makers: Sequence[torch.nn.Module],
    layer: torch.nn.Module,
    calibration: Calibration,
    heads_per_value: int,
) -> Iterator[Fold]:
    """Yield what may be a place for factors of ``readers``, of which some are."""
    inputs = readers[0].in_features
    names = tuple(f"{calibration.names[reader]}.weight" for reader in readers)
    alone = np.arange(inputs)
    for maker in makers:
        weight = getattr(maker, "weight", None)
        if isinstance(weight, torch.Tensor) and tuple(weight.shape) == (inputs,):
            for plus_one in (False, True):
                yield Fold(names, _rows_of(maker, calibration), 0, alone, plus_one)
    for part in layer.modules():
        if not isinstance(part, torch.nn.Linear) or part in readers:
            continue
        parameters = _rows_of(part, calibration)
        if part.out_features >= inputs:
            for first in sorted({0, part.out_features - inputs}, reverse=True):
                yield Fold(names, parameters, first, alone)
        shared, width = inputs // heads_per_value, _head_width(layer)
        whole = width > 0 and inputs % (heads_per_value * width) == 0
        if heads_per_value > 1 and whole and part.out_features >= shared:
            heads = np.arange(inputs).reshape(-1, heads_per_value, width)
            first_of_each = np.arange(shared).reshape(-1, 1, width)
            sources = np.broadcast_to(first_of_each, heads.shape).reshape(-1)
            yield Fold(names, parameters, part.out_features - shared, sources)


def _rows_of(part: torch.nn.Module, calibration: Calibration) -> dict[str, int]:
    name = calibration.names[part]
    own = part.named_parameters(recurse=False)
    return {f"{name}.{parameter}": len(value) for parameter, value in own}


def _head_width(layer: torch.nn.Module) -> int:
    """Return the width of a head of attention, as transformers' layers have it; 0 if none says."""
    found = (getattr(part, "head_dim", None) for part in layer.modules())
    return next((width for width in found if isinstance(width, int)), 0)


def _holds(
    fold: Fold, layer: torch.nn.Module, calibration: Calibration, right: torch.Tensor
) -> bool:
    """Return whether ``layer`` gives what is ``right`` with factors there as well."""
    random = np.random.default_rng(0)
    tried = random.integers(-_LARGEST_TRIED, _LARGEST_TRIED + 1, fold.count, np.int8)
    with _multiplied(fold.exponents(tried), calibration):
        found = calibration.tried(layer)
    return float((found - right).norm()) <= _SAME * float(right.norm())


@contextmanager
def _multiplied(exponents: Exponents, calibration: Calibration) -> Iterator[None]:
    """Inside, the model's weights are multiplied."""
    before = []
    for name in exponents.names:
        part, _, own = name.rpartition(".")
        table = calibration.part(part)._parameters
        before.append((table, own, table[own]))
        weight = exponents.applied(name, table[own].detach())
        table[own] = torch.nn.Parameter(weight, requires_grad=False)
    try:
        yield
    finally:
        for table, own, weight in before:
            table[own] = weight
