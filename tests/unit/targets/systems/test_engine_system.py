"""What an engine elsewhere says about itself, as far as that needs none that runs containers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from targets.systems.engine.address import EngineAddress
from targets.systems.engine.engine_system import EngineSystem
from tests.support.engines import engine_answering
from tests.unit.targets.toolchain.test_engine_facts import PODMAN, ROOTLESS_DOCKER, ROOTLESS_PODMAN


@pytest.mark.parametrize(
    ("said", "note"),
    [
        (PODMAN, ""),
        (
            ROOTLESS_DOCKER,
            "rootless Docker Engine 20.10.24 accepts limits of memory, CPUs, processes and does "
            "not enforce them",
        ),
        # It tells a Docker client that it enforces all of them.
        (
            ROOTLESS_PODMAN,
            "rootless Podman 4.3.1 accepts limits of memory, CPUs, processes and does not enforce "
            "them",
        ),
    ],
)
def test_it_says_which_limits_it_does_not_enforce(
    said: dict[str, Any], note: str, tmp_path: Path
) -> None:
    with engine_answering(**said) as address:
        system = EngineSystem("box", EngineAddress(address), tmp_path)
        assert system.limits_note() == note
        system.close()
