"""The toolchains are made once and are there from then on: first of all, while nobody waits."""

from __future__ import annotations

import json

import pytest
from docker import DockerClient

from targets.target import load_target
from targets.toolchain.image import find_image
from targets.toolchain.platforms import this_machine
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


@pytest.mark.engine
@pytest.mark.first
def test_images_of_targets_have_what_is_large_in_common(docker_client: DockerClient) -> None:
    parents, layers, own = set(), [], []
    for target in ("cpu", "directml", "webgpu"):
        toolchain = load_target(target).toolchain(this_machine())
        assert toolchain.parent is not None
        image, parent = (find_image(docker_client, one) for one in (toolchain, toolchain.parent))
        assert image is not None
        assert parent is not None
        parents.add(parent.id)
        attributes = docker_client.images.get(image.id).attrs
        layers.append(attributes["RootFS"]["Layers"])
        own.append(attributes["Size"] - docker_client.images.get(parent.id).attrs["Size"])
    (parent_id,) = parents
    inherited = docker_client.images.get(parent_id).attrs["RootFS"]["Layers"]
    assert all(its[: len(inherited)] == inherited for its in layers)
    assert max(own) < 300e6
