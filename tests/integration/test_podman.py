"""A real Podman: what it answers otherwise than Docker's engine is known. What every engine must do
with a step, `test_runtime_docker.py` asks of both."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from targets.doctor.engine import engine as examine
from targets.doctor.finding import Machine
from targets.errors import Interrupted
from targets.runtimes.containers import Containers
from targets.runtimes.docker import RUN_LABEL, DockerRuntime
from targets.runtimes.runtime import ProcessLimits
from targets.target import load_target
from targets.toolchain.base import BaseImage, ensure_base, read_recipe
from targets.toolchain.image import BASE_LABEL, find_image, image_labels
from targets.toolchain.platforms import this_machine
from tests.support.capabilities import program
from tests.support.podman import own_podman
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
    with own_podman() as client:
        yield client


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
    made, _ = podman.images.build(fileobj=io.BytesIO("\n".join(lines).encode()), rm=True)
    assert find_image(podman, cpu) is None

    made.tag("quern/cpu", "of-a-test")
    found = find_image(podman, cpu)

    assert found is not None
    assert (found.tag, found.id, found.base) == ("quern/cpu:of-a-test", made.id, base.identity)


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
    podman: docker.DockerClient, tmp_path: Path
) -> None:
    here = {image.id for image in podman.images.list(all=True)}
    Containers(tmp_path)  # it sees this one
    ask = (
        f"from targets.runtimes.containers import Containers as C, Path; C(Path({str(tmp_path)!r}))"
    )
    hide = f'mount -t tmpfs none "{tmp_path}" && exec "$0" -c "$1"'
    unseen = subprocess.run(
        [program("Podman", "unshare"), "--mount", "sh", "-c", hide, sys.executable, ask],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert f"cannot mount what is in {tmp_path}: it is another machine's" in unseen.stderr
    assert {image.id for image in podman.images.list(all=True)} == here
    assert podman.containers.list(all=True) == []


def test_the_doctor_says_what_it_is(podman: docker.DockerClient, tmp_path: Path) -> None:
    machine = Machine(tmp_path, tmp_path, (load_target("cpu"),))
    (found,) = [finding for finding in examine(machine) if finding.check == "engine"]
    assert found.message.startswith(f"Podman {podman.version()['Version']}, API ")
    assert (found.severity, found.details["name"]) == ("ok", "Podman")
