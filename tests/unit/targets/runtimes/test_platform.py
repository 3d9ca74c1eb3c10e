"""The platform whose lock is used is this machine's: only an engine of this machine runs steps."""

from __future__ import annotations

import pytest

from targets.runtimes.platform import platform_for
from targets.toolchain.platforms import this_machine
from tests.support.engines import engine_answering


def test_no_engine_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    linux = f"linux/{this_machine().partition('/')[2]}"
    with engine_answering(Arch="riscv64") as address:
        for host in (address, "unix:///nowhere"):
            monkeypatch.setenv("DOCKER_HOST", host)
            assert platform_for("docker") == platform_for("auto") == linux
            assert platform_for("venv") == this_machine()
