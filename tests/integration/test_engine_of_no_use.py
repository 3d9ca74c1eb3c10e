"""Engines that answer and cannot be used: a build goes on without, or ends at once and says why."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import docker
import pytest

from targets.errors import EnvironmentUnable
from targets.runtimes.docker import DockerRuntime
from targets.systems.select import Chooser, Decision
from targets.target import load_target
from targets.toolchain.platforms import this_machine
from targets.toolchain.toolchain import Room, Toolchain
from tests.support.capabilities import program, skip_or_fail

pytestmark = pytest.mark.engine

# In a mount namespace of its own, the engine has an empty folder in the place of ours. In a network
# namespace of its own, `--bridge=none` does not remove the bridge of the machine's engine.
_START = """
mount --make-rprivate / && mount -t tmpfs none "$HIDDEN" || exit 1
exec dockerd --host "unix://$FOLDER/engine.sock" --data-root "$DATA" --exec-root "$FOLDER/exec" \
    --pidfile "$FOLDER/pid" --iptables=false --bridge=none
"""


@dataclass(frozen=True)
class Engine:
    """An engine with a small disk and no image, that does not see one of our folders."""

    address: str
    seen: Path
    hidden: Path


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    program("second engine", "dockerd")
    if os.getuid() != 0:
        skip_or_fail("second engine", "only root can start one")
    folder = tmp_path_factory.mktemp("engine")
    data, hidden, seen = folder / "data", folder / "hidden", folder / "seen"
    for made in (data, hidden, seen):
        made.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m", "none", data], check=True)
    log = (folder / "log").open("wb")
    names = {"FOLDER": str(folder), "DATA": str(data), "HIDDEN": str(hidden)}
    running = subprocess.Popen(
        ["unshare", "--mount", "--net", "sh", "-c", _START],
        env={**os.environ, **names},
        stdout=log,
        stderr=log,
    )
    try:
        address = f"unix://{folder}/engine.sock"
        _wait_for(address, folder / "log")
        yield Engine(address, seen, hidden)
    finally:
        running.terminate()
        running.wait(30)
        log.close()
        subprocess.run(["umount", data], check=True)


def _wait_for(address: str, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            docker.DockerClient(address).ping()
        except (docker.errors.DockerException, OSError):
            time.sleep(0.2)
        else:
            return
    pytest.fail(log.read_text())


@pytest.fixture
def toolchain() -> Toolchain:
    """Return a toolchain whose image fits on any disk."""
    return replace(load_target("cpu").toolchain(this_machine()), room=Room())


@pytest.fixture
def no_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have neither a program nor a network."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")


def unusable(cache: Path, toolchain: Toolchain) -> Decision:
    """Return why ``auto`` takes a virtual environment; ``docker`` ends for the same reason."""
    with pytest.raises(EnvironmentUnable) as caught:
        Chooser("docker", cache).start([toolchain], pytest.fail)
    decision = Chooser("auto", cache).decide([toolchain])
    assert decision == Decision("venv", str(caught.value), caught.value.hint)
    assert list(cache.iterdir()) == []
    return decision


def test_an_engine_that_does_not_see_this_machines_folders(
    engine: Engine, toolchain: Toolchain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", engine.address)
    # It is another machine's, and is used as a system is: what a job needs is sent there.
    decision = Chooser("auto", engine.hidden).decide([toolchain])
    assert decision.runtime == "docker"
    assert f"on the engine ({engine.address}): the image of cpu is not there yet" in str(decision)


def test_an_engine_whose_disk_is_full(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", engine.address)
    decision = unusable(engine.seen, load_target("cpu").toolchain(this_machine()))
    assert "too little room at" in decision.why
    assert "as an image" in decision.why


@pytest.mark.usefixtures("no_tools")
def test_an_engine_for_which_no_base_can_be_had(
    engine: Engine, toolchain: Toolchain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", engine.address)
    decision = unusable(engine.seen, toolchain)
    assert "no base image can be had" in decision.why
    assert "apt-get install mmdebstrap" in decision.remedy


def test_an_engine_of_another_platform(
    engine: Engine, toolchain: Toolchain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", engine.address)
    other = replace(toolchain, platform="linux/riscv64")
    decision = Chooser("auto", engine.seen).decide([other])
    assert decision.runtime is None
    assert "is locked for linux/riscv64" in decision.why


def test_a_base_that_turns_out_not_to_be_had(
    engine: Engine, toolchain: Toolchain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was decided by looking for tools is mended where they fail."""
    broken = tmp_path / "mmdebstrap"
    broken.write_text("#!/bin/sh\necho 'E: no mirror' >&2\nexit 1\n")
    broken.chmod(0o755)
    keyring = tmp_path / "keyring.gpg"
    keyring.touch()
    monkeypatch.setattr("targets.toolchain.bootstrap.KEYRING", keyring)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("DOCKER_HOST", engine.address)
    chooser = Chooser("auto", tmp_path)
    assert chooser.decide([toolchain]).runtime == "docker"
    said: list[str] = []
    assert chooser.start([toolchain], said.append).name == "venv"
    assert "steps run in a virtual environment: mmdebstrap cannot make the base" in said[-1]
    assert chooser.decide([toolchain]).runtime == "venv"


def test_the_engine_of_the_tests_is_of_use(
    docker_client: docker.DockerClient, cache_dir: Path
) -> None:
    """Nothing is left of asking."""
    cache_dir.mkdir(parents=True, exist_ok=True)
    toolchain = load_target("cpu").toolchain(this_machine())
    chooser = Chooser("auto", cache_dir)
    assert chooser.decide([toolchain]).runtime == "docker"
    assert isinstance(chooser.start([toolchain], print), DockerRuntime)
    with pytest.raises(docker.errors.ImageNotFound):
        docker_client.images.get("quern/no-such-image")
    assert not list(cache_dir.glob(".quern-*"))
