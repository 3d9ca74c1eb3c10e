"""Ways in which a model can be quantized, where a step is to choose among them.

A way names the passes that it uses of those that quantize, in their order; the empty one uses none.
What a step reads of a way has the name of its role with that of the way behind it, so that it can
read what several ways have made. :func:`of_way` leaves one of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TypeVar

from pydantic import JsonValue

Way = tuple[str, ...]

WAY = "way"
"""Metric of an artifact: the names of the passes of the way in which it was made."""

_OF = "@"  # in no name of a role, and in no name that a config may give
_AND = "+"

T = TypeVar("T")

PASSES = "passes"
"""The axis of a search space whose values are ways."""


class ChoosesWays(ABC):
    """Parameters of a step that chooses among ways."""

    @property
    @abstractmethod
    def ways(self) -> tuple[Way, ...]:
        """Return the ways, that of the start first, each with its passes in their order."""

    @property
    @abstractmethod
    def asked_ways(self) -> tuple[Sequence[str], ...]:
        """Return the ways as the config names them; none if it leaves out no pass."""

    @abstractmethod
    def has_build_in(self, way: Way) -> bool:
        """Return whether there is a build that suits all passes of ``way``."""


def way_name(way: Sequence[str]) -> str:
    """Return the name of a way."""
    return _AND.join(way)


def input_of(role: str, way: Sequence[str]) -> str:
    """Return the name of an input that is the ``role`` of ``way``."""
    return f"{role}{_OF}{way_name(way)}"


def role_of(name: str) -> str:
    """Return the role of an input, whichever way it is of."""
    return name.partition(_OF)[0]


def of_way(inputs: Mapping[str, T], way: Sequence[str]) -> dict[str, T]:
    """Return ``inputs`` with those of ``way`` under the names of their roles, and without those of
    other ways."""
    common = {name: one for name, one in inputs.items() if _OF not in name}
    end = input_of("", way)
    return {**common, **{role_of(name): one for name, one in inputs.items() if name.endswith(end)}}


def way_of(metrics: Mapping[str, JsonValue]) -> Way:
    """Return the way in which an artifact with these ``metrics`` was made: the empty one where no
    step has chosen any."""
    names = metrics.get(WAY)
    return tuple(str(name) for name in names) if isinstance(names, list) else ()
