"""A real Podman: what it answers otherwise than Docker's engine is known. What every engine must do
with a step, `test_runtime_docker.py` asks of both."""

from __future__ import annotations

import io
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from targets.doctor.engine import engine as examine
from targets.doctor.finding import Machine
from targets.errors import EnvironmentUnable, Interrupted
from targets.runtimes.containers import Containers
from targets.runtimes.docker import RUN_LABEL, DockerRuntime
from targets.runtimes.runtime import ProcessLimits
from targets.target import load_target
from targets.toolchain.base import BaseImage, ensure_base, read_recipe
from targets.toolchain.engine import connect, require_shared_folders
from targets.toolchain.image import BASE_LABEL, find_image, image_labels
from targets.toolchain.platforms import this_machine
from tests.support.podman import own_folder, podman_service
from tests.support.runtime_support import (
    STANDIN,
    heeded,
    in_background,
    request,
    signal_self_when,
    toolchain,
)

RECIPE = read_recipe(Path(__file__).parents[2] / "images" / "base" / "base.toml")


@pytest.fixture(scope="module")
def podman() -> Iterator[docker.DockerClient]:
    with own_folder("quern-podman-") as folder, podman_service(folder) as address:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DOCKER_HOST", address)
            patch.setattr("targets.toolchain.engine.ANSWER_SECONDS", 60)  # it may be a busy machine
            yield connect()


@pytest.fixture(scope="module")
def base(podman: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> BaseImage:
    return ensure_base(podman, RECIPE, tmp_path_factory.mktemp("base"), print)


@pytest.fixture
def runtime(podman: docker.DockerClient, tmp_path: Path) -> DockerRuntime:
    return DockerRuntime(podman, tmp_path / "cache", STANDIN, python="python3")


def test_a_base_that_was_imported_is_found_again(
    podman: docker.DockerClient, base: BaseImage, tmp_path: Path
) -> None:
    assert ensure_base(podman, RECIPE, tmp_path, pytest.fail, sources=()) == base
    assert base.identity.partition(":")[0] in {"debian-packages", "mmdebstrap"}


def test_a_toolchains_image_is_found_by_its_labels_and_only_if_it_was_named(
    podman: docker.DockerClient, base: BaseImage
) -> None:
    cpu = load_target("cpu").toolchain(this_machine())
    labels = {**image_labels(cpu), BASE_LABEL: base.identity}
    lines = [f"FROM {base.image}", *(f'LABEL "{key}"="{value}"' for key, value in labels.items())]
    made, _ = podman.images.build(fileobj=io.BytesIO("\n".join(lines).encode()))
    assert find_image(podman, cpu) is None

    made.tag("quern/cpu", "of-a-test")
    found = find_image(podman, cpu)

    assert found is not None
    assert (found.tag, found.id, found.base) == ("quern/cpu:of-a-test", made.id, base.identity)
    podman.images.remove(found.tag)


def test_a_step_is_confined_and_its_files_are_the_callers(
    runtime: DockerRuntime, podman: docker.DockerClient, base: BaseImage, tmp_path: Path
) -> None:
    limits = ProcessLimits(memory_bytes=256 * 2**20, cpus=0.5)
    asked = request(tmp_path, {"do": "look"}, resources=limits)

    runtime.run_image(base.image, toolchain(tmp_path), asked, lambda _event: None)

    seen = json.loads((tmp_path / "work" / "seen.json").read_text())
    owner = (tmp_path / "work" / "seen.json").stat()
    assert (owner.st_uid, owner.st_gid) == (os.getuid(), os.getgid())
    assert "unreachable" in seen["network"]
    assert not seen["writes_root"]
    assert seen["writes_tmp"]
    assert "CapEff:\t0000000000000000" in seen["status"]
    assert podman.containers.list(all=True, filters={"label": RUN_LABEL}) == []
    assert runtime.limits_note() == ""


def test_ctrl_c_leaves_nothing(
    runtime: DockerRuntime, podman: docker.DockerClient, base: BaseImage, tmp_path: Path
) -> None:
    asked = request(tmp_path, {"do": "wait"})
    pressed = signal_self_when(tmp_path / "work" / "pids", signal.SIGINT)

    with heeded(signal.SIGINT), in_background(pressed), pytest.raises(Interrupted):
        runtime.run_image(base.image, toolchain(tmp_path), asked, lambda _event: None)

    assert podman.containers.list(all=True, filters={"label": RUN_LABEL}) == []


def test_a_folder_that_podman_does_not_see_is_named_and_nothing_is_left_of_asking(
    podman: docker.DockerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Containers(tmp_path)
    here = {image.id for image in podman.images.list(all=True)}
    monkeypatch.setattr("tempfile.TemporaryDirectory", _Vanished)
    with pytest.raises(EnvironmentUnable, match="cannot mount what is in .*another machine's"):
        require_shared_folders(podman, tmp_path)

    assert {image.id for image in podman.images.list(all=True)} == here
    assert podman.containers.list(all=True) == []


class _Vanished:
    """A folder that is not there for the engine."""

    def __init__(self, **_where: object) -> None:
        pass

    def __enter__(self) -> str:
        return "/not/here"

    def __exit__(self, *_error: object) -> None:
        pass


def test_the_doctor_says_what_it_is(podman: docker.DockerClient, tmp_path: Path) -> None:
    machine = Machine(tmp_path, tmp_path, (load_target("cpu"),))
    (found,) = [finding for finding in examine(machine) if finding.check == "engine"]
    assert found.message.startswith(f"Podman {podman.version()['Version']}, API ")
    assert (found.severity, found.details["name"]) == ("ok", "Podman")
