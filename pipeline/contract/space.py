"""Estimates of the disk space that a step needs, before it runs. Free of any ML library."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

FORMATS = {"fp32": 4, "bf16": 2, "fp16": 2}
"""Bytes per number, by number format."""

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Weights:
    """The tensors of a checkpoint."""

    shapes: Mapping[str, Shape]
    tied: bool
    """Whether embedding and output layer share their weights."""
    bytes: int
    """Size of the tensors as stored, in bytes."""
    rotary: int = 0
    """Numbers in the tables of rotary positions: context length times head size."""

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
        shapes = {name: shape for name, shape in matrices.items() if not is_embedding(name)}
        if self.tied and not any("lm_head" in name for name in shapes):
            shapes |= {
                f"{name} (tied)": shape for name, shape in matrices.items() if is_embedding(name)
            }
        return shapes

    @property
    def embedding(self) -> Mapping[str, Shape]:
        """Return the shapes (tokens, width) of the token embeddings."""
        return {
            name: shape
            for name, shape in self.shapes.items()
            if is_embedding(name) and len(shape) == 2
        }


@dataclass(frozen=True)
class SpaceEstimate:
    """Disk space of a step in bytes: of its output, and of files that exist only while it runs."""

    kept: int
    temporary: int = 0
    weights: Weights | None = None
    """The tensors, if the output is a checkpoint."""


@runtime_checkable
class EstimatesSpace(Protocol):
    """Parameters that can estimate how much their pass writes.

    A pass whose parameters cannot is assumed to write as much as it reads of the same kind.
    """

    def writes(self, inputs: Mapping[str, SpaceEstimate]) -> SpaceEstimate | None:
        """Return the estimate for the pass; ``None`` if it is unknown.

        ``inputs`` are the estimates of its inputs, by role, as far as they are known.
        """


def count(shapes: Iterable[Shape]) -> int:
    """Return how many numbers tensors of these shapes have together."""
    return sum(math.prod(shape) for shape in shapes)


def is_embedding(name: str) -> bool:
    """Return whether the tensor ``name`` is a token embedding, judged by its name."""
    return "embed" in name or name.endswith(("wte.weight", "wpe.weight"))
