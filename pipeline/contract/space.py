"""How much room on disk a step takes, as far as that is known before it runs. Free of any ML
library."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

FORMATS = {"fp32": 4, "bf16": 2, "fp16": 2}
"""Bytes of one number."""

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Weights:
    """The tensors of a checkpoint."""

    shapes: Mapping[str, Shape]
    tied: bool
    """Whether the embedding is the output layer too."""
    bytes: int
    """What the tensors take as they are stored."""
    rotary: int = 0
    """Numbers in the tables of rotary positions: the context's length times a head's size."""

    @property
    def count(self) -> int:
        """Return how many numbers all tensors have together."""
        return count(self.shapes.values())

    @property
    def linear(self) -> Mapping[str, Shape]:
        """Return the shapes (outputs, inputs) of all matrices that multiply hidden states.

        The embedding counts once more as the output layer where the two share their weights.
        """
        matrices = {name: shape for name, shape in self.shapes.items() if len(shape) == 2}
        found = {name: shape for name, shape in matrices.items() if not is_embedding(name)}
        if self.tied and not any("lm_head" in name for name in found):
            found |= {
                f"{name} (tied)": shape for name, shape in matrices.items() if is_embedding(name)
            }
        return found

    @property
    def embedding(self) -> Mapping[str, Shape]:
        """Return the shapes (tokens, width) of the token embeddings."""
        return {name: shape for name, shape in self.shapes.items() if is_embedding(name)}


@dataclass(frozen=True)
class Written:
    """What a step leaves, and what lies beside that only while it runs; in bytes."""

    kept: int
    passing: int = 0
    weights: Weights | None = None
    """Those of a checkpoint."""


@runtime_checkable
class TakesSpace(Protocol):
    """Parameters that say how much room their pass takes.

    Without them, a pass is taken to write as much as it reads of the same kind.
    """

    def writes(self, inputs: Mapping[str, Written]) -> Written | None:
        """Return what the pass writes, ``None`` where that is not known.

        ``inputs`` holds what is known of them, by role.
        """


def count(shapes: Iterable[Shape]) -> int:
    """Return how many numbers tensors of these shapes have together."""
    return sum(math.prod(shape) for shape in shapes)


def is_embedding(name: str) -> bool:
    """Return whether a tensor of that name is a token embedding, going by its name."""
    return "embed" in name or name.endswith(("wte.weight", "wpe.weight"))
