"""Hostile input of every kind ends in time, with an exit code of Quern's and the file's name."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.attack.attacking import attack
from tests.attack.surface import Surface
from tests.attack.surfaces import SURFACES


@pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.name)
def test_hostile_input_is_an_error_of_its_author(
    surface: Surface,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    """Other inputs in every run; `./nox -s attack -- --seed N` tries those of one run again."""
    monkeypatch.setenv("QUERN_CACHE", str(tmp_path))
    number = secrets.randbelow(1 << 32)
    record_property("attack", f"{surface.name}, seed {number}")
    tally = attack(surface, number, surface.count)
    record_property("attack", f"{surface.name}, seed {number}: {tally}")
    assert tally.tried >= surface.count // 2
