"""What the doctor sees of a real Docker Engine."""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import docker
import pytest
from docker.models.containers import Container

from targets.doctor.engine import engine
from targets.doctor.finding import Finding, Machine
from targets.runtimes.docker import RUN_LABEL
from targets.runtimes.driver import new_run_id
from targets.target import load_target
from targets.toolchain.image import Image, mark_used, superseded_images
from targets.toolchain.platforms import this_machine

IMAGE = "quern-test/empty:doctor"
OLD = "quern-test/old:doctor"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path, tmp_path, (load_target("cpu"),))


@pytest.fixture
def leftover(docker_client: docker.DockerClient) -> Iterator[Container]:
    """Yield a container of a driver that is gone."""
    nothing = io.BytesIO()
    tarfile.open(fileobj=nothing, mode="w").close()
    docker_client.api.import_image_from_data(nothing.getvalue(), *IMAGE.split(":"))
    place, _pid, _started, token = new_run_id().rsplit("-", 3)
    labels = {RUN_LABEL: f"{place}-p1-s1-{token}"}
    container = docker_client.containers.create(IMAGE, ["/nothing"], labels=labels)
    yield container
    container.remove(force=True)
    docker_client.images.remove(IMAGE)


@pytest.fixture
def old_image(docker_client: docker.DockerClient) -> Iterator[Image]:
    """Yield an image of another recipe of cpu."""
    nothing = io.BytesIO()
    tarfile.open(fileobj=nothing, mode="w").close()
    changes = ["LABEL quern.target=cpu", f"LABEL quern.recipe={'0' * 64}"]
    repository, _, tag = OLD.partition(":")
    docker_client.api.import_image_from_data(
        nothing.getvalue(), repository=repository, tag=tag, changes=changes
    )
    yield Image(OLD, str(docker_client.images.get(OLD).id), "")
    docker_client.images.remove(OLD)


def named(machine: Machine, check: str) -> list[Finding]:
    return [finding for finding in engine(machine) if finding.check == check]


@pytest.mark.engine
def test_engine_and_image_are_described(
    docker_client: docker.DockerClient, machine: Machine
) -> None:
    (found,) = named(machine, "engine")
    assert found.severity == "ok"
    assert found.details["version"] == docker_client.version()["Version"]
    assert len(named(machine, "image")) == 1


@pytest.mark.alone  # the next run of any driver would remove it
@pytest.mark.engine
def test_containers_of_killed_builds_are_found(machine: Machine, leftover: Container) -> None:
    (found,) = named(machine, "containers")
    assert found.severity == "warning"
    assert str(leftover.name) in found.remedy
    assert found.blocks == ()


@pytest.mark.engine
def test_an_image_that_a_build_of_any_checkout_used_lately_is_not_called_old(
    docker_client: docker.DockerClient,
    machine: Machine,
    old_image: Image,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def used() -> datetime:
        toolchain = load_target("cpu").toolchain(this_machine())
        (found,) = (
            image for image in superseded_images(docker_client, toolchain) if OLD in image.tags
        )
        return found.used

    before = used()
    time.sleep(1.1)  # an engine's times are read to the second
    mark_used(docker_client, old_image)
    assert before < used()
    assert not any(OLD in found.remedy for found in named(machine, "old images"))
    monkeypatch.setattr("targets.doctor.engine._UNUSED_DAYS", -1)
    (found,) = named(machine, "old images")
    assert OLD in found.remedy.removeprefix("docker rmi ").split()
