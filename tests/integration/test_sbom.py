"""The SBOM of the real cpu toolchain: its image and its wheels."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from docker import DockerClient

from targets.digests import Digests
from targets.errors import EnvironmentUnable
from targets.release.sbom.contents import (
    Artifact,
    Model,
    ModelFacts,
    Release,
    ToolchainContents,
)
from targets.release.sbom.debian import debian_in
from targets.release.sbom.validate import sbom_problems
from targets.release.sbom.wheels import read_wheels
from targets.release.sbom.write_sbom import write_sbom
from targets.release.sbom.write_system import write_system
from targets.runtimes.docker import RUN_LABEL
from targets.runtimes.driver import driver_of
from targets.target import load_target
from targets.toolchain.engine import platform_of
from targets.toolchain.image import ensure_image
from targets.toolchain.requirements import read_lock
from targets.toolchain.wheelhouse import Wheelhouse

pytestmark = pytest.mark.engine


def test_every_pin_and_every_package_of_the_cpu_toolchain_is_a_component(
    docker_client: DockerClient, cache_dir: Path
) -> None:
    toolchain = load_target("cpu").toolchain(platform_of(docker_client))
    image = ensure_image(docker_client, toolchain, cache_dir, print)
    wheels = Wheelhouse(cache_dir / "wheels").ensure(toolchain, print)
    system = debian_in(docker_client, image.id)
    contents = ToolchainContents(
        target="cpu",
        platform=toolchain.platform,
        digest=toolchain.digest,
        python=toolchain.python,
        wheels=read_wheels(wheels, Digests(cache_dir / "digests.sqlite").file),
    )
    model = Model("tone-cpu", "1.0", sha256="0" * 64)

    text = write_sbom(
        Release(
            "tone", "1.0", "0.1.0", (Artifact(model, ModelFacts("text-generation"), (contents,)),)
        )
    )

    assert sbom_problems(text) == []
    assert str(cache_dir).encode() not in text
    (formula,) = json.loads(text)["formulation"]
    components = formula["components"]
    by_purl = {it["purl"]: it for it in components if "purl" in it}
    for pin in read_lock(toolchain.lock):
        version = str(pin.version).replace("+", "%2B")
        index = f"?repository_url={pin.pytorch_index}" if pin.pytorch_index else ""
        wheel = by_purl[f"pkg:pypi/{pin.name}@{version}{index}"]
        assert wheel["hashes"][0]["content"] in pin.sha256
        assert wheel["licenses"], f"{pin} states no licence"
    around = write_system(system)
    assert sbom_problems(around) == []
    content = json.loads(around)
    components = content["components"]
    names = {it["name"] for it in components if it.get("purl", "").startswith("pkg:deb/debian/")}
    assert names == {package.name for package in system.packages}
    assert {"base-files", "dpkg", "libc6", "libstdc++6"} <= names
    assert "python3.11" in names or system.python.startswith("3.11.")
    assert content["metadata"]["component"]["type"] == "operating-system"
    assert content["metadata"]["component"]["version"] == "12"
    assert _left_behind(docker_client) == []


def test_an_image_that_the_engine_lacks_is_named(docker_client: DockerClient) -> None:
    with pytest.raises(EnvironmentUnable, match="quern/never-made:1"):
        debian_in(docker_client, "quern/never-made:1")


def _left_behind(client: DockerClient) -> list[str]:
    """Return the containers of this process."""
    found = client.containers.list(all=True, filters={"label": RUN_LABEL}, ignore_removed=True)
    drivers = [(it.name, driver_of(it.labels[RUN_LABEL])) for it in found]
    return [str(name) for name, driver in drivers if driver and driver.pid == os.getpid()]
