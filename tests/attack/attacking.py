"""Attacks one surface and counts what held."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.attack.inside import Ended, TooSlow
from tests.attack.surface import Surface

_EVERY_SIZE = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example)


@dataclass
class Tally:
    """How many inputs were tried, by the exit code that they ended with."""

    ends: Counter[int] = field(default_factory=Counter)

    @property
    def tried(self) -> int:
        """Return how many inputs were tried."""
        return self.ends.total()

    def __str__(self) -> str:
        ends = ", ".join(f"{count} ended with {code}" for code, count in sorted(self.ends.items()))
        return f"{self.tried} tried: {ends}"


def attack(surface: Surface, number: int, count: int) -> Tally:
    """Try ``count`` inputs that follow from the seed ``number``.

    Raises for the first one, made as small as it can be, that does not end as an input should.
    """
    tally = Tally()

    @seed(number)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=_EVERY_SIZE,
        report_multiple_bugs=False,
    )
    @given(surface.inputs)
    def attempt(hostile: Any) -> None:
        with tempfile.TemporaryDirectory() as folder:
            tally.ends[met(surface, hostile, Path(folder)).code] += 1

    attempt()
    return tally


def met(surface: Surface, hostile: Any, folder: Path) -> Ended:
    """Return how Quern met one input in the empty ``folder``.

    Raises ``AssertionError`` unless it ended in time, with a code that the surface allows, and
    named one of its files where the input was wrong.
    """
    try:
        ended = surface.meet(hostile, folder)
    except TooSlow:
        raise AssertionError("it was too slow") from None
    assert ended.code in surface.codes, f"it ended with {ended.code}: {ended.said[:2000]}"
    if ended.code == 2:
        assert f"error: {folder}" in ended.said, f"no file is named: {ended.said[:2000]}"
    return ended
