"""The toolchains are made once and are there from then on: first of all, while nobody waits."""

from __future__ import annotations

import json

import pytest

from tests.support.command import Quern

TOOLCHAINS = (
    pytest.param("cpu", "venv"),
    pytest.param("directml", "venv", marks=pytest.mark.slow),
    pytest.param("cpu", "docker", marks=pytest.mark.engine),
    pytest.param("directml", "docker", marks=pytest.mark.engine),
    pytest.param("webgpu", "docker", marks=pytest.mark.engine),
)


@pytest.mark.first
@pytest.mark.parametrize(("target", "runtime"), TOOLCHAINS)
def test_a_toolchain_is_made_once(quern: Quern, target: str, runtime: str) -> None:
    command = ("images", "--target", target, "--runtime", runtime, "--json")
    made, found = (quern(*command) for _ in range(2))
    assert made.code == found.code == 0, made.stderr + found.stderr
    assert json.loads(made.stdout) == json.loads(found.stdout)
    (record,) = json.loads(found.stdout)["toolchains"].values()
    assert record["runtime"] == runtime
    assert [line for line in found.stderr.splitlines() if "ready" not in line] == []
