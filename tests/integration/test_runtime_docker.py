"""Real containers of the base image run the stand-in pipeline."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from docker import DockerClient
from docker.context import ContextAPI

from pipeline.contract.events import Event, StepFinished, StepStarted
from targets.devices.cuda import container_options
from targets.errors import EnvironmentUnable, InputRefused, Interrupted, PassFailed
from targets.runtimes.docker import RUN_LABEL, DockerRuntime
from targets.runtimes.runtime import Mount, ProcessLimits
from targets.toolchain.base import ensure_base, read_recipe
from targets.toolchain.engine_facts import facts_of
from tests.support.capabilities import skip
from tests.support.podman import own_podman
from tests.support.runtime_support import (
    CRASHES,
    STANDIN,
    EngineProxy,
    heeded,
    in_background,
    request,
    signal_self_when,
    toolchain,
    wait_for,
)

pytestmark = pytest.mark.engine

GPU = "GPU-0a5dc1fe-0000-4c3b-9c4e-6f2d5a1b0e77"
BASE = Path(__file__).parents[2] / "images" / "base" / "base.toml"


@pytest.fixture(scope="module", params=["docker", pytest.param("podman", marks=[pytest.mark.slow])])
def engine(request: pytest.FixtureRequest) -> Iterator[DockerClient]:
    """Yield a client of each engine; whatever else a test starts uses the same one."""
    if request.param == "docker":
        yield request.getfixturevalue("docker_client")
        return
    with own_podman() as client:
        yield client


@pytest.fixture(scope="module")
def image(engine: DockerClient, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The base image: it has Python, and the stand-in needs nothing else."""
    return ensure_base(engine, read_recipe(BASE), tmp_path_factory.mktemp("base"), print).image


@pytest.fixture
def runtime(engine: DockerClient, tmp_path: Path) -> DockerRuntime:
    return DockerRuntime(engine, tmp_path / "cache", STANDIN, python="python3")


def containers(engine: DockerClient, cache: Path) -> list[str]:
    """Return the containers of runs that mount a folder below ``cache``."""
    found = engine.containers.list(all=True, filters={"label": RUN_LABEL}, ignore_removed=True)
    return [
        str(container.id)
        for container in found
        if any(mount["Source"].startswith(str(cache)) for mount in container.attrs["Mounts"])
    ]


def is_podman(engine: DockerClient) -> bool:
    return facts_of(engine).is_podman


def ignore(_event: Event) -> None:
    """Take an event and do nothing."""


def test_confinement(
    runtime: DockerRuntime, engine: DockerClient, image: str, tmp_path: Path
) -> None:
    data = tmp_path / "rows" / "data.jsonl"
    data.parent.mkdir()
    data.write_text("one row")
    (data.parent / "private").write_text("not mounted")
    events: list[Event] = []
    wanted = request(
        tmp_path,
        {"do": "look", "read": "/quern/data/data.jsonl"},
        mounts=(Mount("data", data), Mount("objects", data.parent)),
        environment={"ONE_MORE": "variable"},
    )

    runtime.run_image(image, toolchain(tmp_path), wanted, events.append)

    seen = json.loads((tmp_path / "work" / "seen.json").read_text())
    status = seen["status"]
    assert [type(event) for event in events] == [StepStarted, StepFinished]
    assert (seen["uid"], seen["gid"]) == (os.getuid(), os.getgid())
    owner = (tmp_path / "work" / "seen.json").stat()
    assert (owner.st_uid, owner.st_gid) == (os.getuid(), os.getgid())
    assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE)
    assert re.search(r"^CapPrm:\s+0+$", status, re.MULTILINE)
    assert re.search(r"^CapBnd:\s+0+$", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)
    assert "unreachable" in seen["network"]
    assert seen["read"] == "one row"
    assert not seen["writes_root"]
    assert not seen["writes_data"]
    assert not seen["writes_objects"]
    assert seen["writes_tmp"]
    assert seen["writes_work"]
    assert seen["environment"]["QUERN_TEST"] == "of the target"
    assert seen["environment"]["ONE_MORE"] == "variable"
    assert seen["environment"]["HOME"] == "/tmp"  # noqa: S108 - a private tmpfs
    log = (tmp_path / "run.log").read_text()
    assert "library chatter" in log
    assert "not an event" in log
    assert "finished" not in log
    assert containers(engine, tmp_path) == []
    assert list((tmp_path / "cache" / "runs").iterdir()) == []


def test_outputs_belong_to_a_caller_who_is_not_root(
    engine: DockerClient, image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 4321)
    monkeypatch.setattr(os, "getgid", lambda: 4322)
    wanted = request(tmp_path, {"do": "look"})
    (tmp_path / "work").chmod(0o777)
    runtime = DockerRuntime(engine, tmp_path / "cache", STANDIN, python="python3")
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(folder.stat().st_mode | 0o055)

    runtime.run_image(image, toolchain(tmp_path), wanted, ignore)

    owner = (tmp_path / "work" / "seen.json").stat()
    assert (owner.st_uid, owner.st_gid) == (4321, 4322)


@pytest.mark.parametrize("do", ["eat", "child_eats"])
def test_out_of_memory_names_the_limit(
    do: str, runtime: DockerRuntime, image: str, tmp_path: Path
) -> None:
    limits = ProcessLimits(memory_bytes=128 * 2**20)
    wanted = request(tmp_path, {"do": do, "mebibytes": 512}, resources=limits)

    with pytest.raises(PassFailed, match=r"s ran out of memory \(limit 0\.1 GiB\)") as caught:
        runtime.run_image(image, toolchain(tmp_path), wanted, ignore)

    assert "resources.memory" in caught.value.hint


def test_an_endless_step_ends_and_is_named(
    runtime: DockerRuntime, engine: DockerClient, image: str, tmp_path: Path
) -> None:
    wanted = request(tmp_path, {"do": "wait"}, resources=ProcessLimits(step_seconds=3))

    with pytest.raises(PassFailed, match="s was stopped: it took longer than 3") as caught:
        runtime.run_image(image, toolchain(tmp_path), wanted, ignore)

    assert "resources.step_hours" in caught.value.hint
    assert containers(engine, tmp_path) == []


@pytest.mark.parametrize("memory", [256 * 2**20, None, 2**80])
def test_limits_reach_the_container(
    memory: int | None, runtime: DockerRuntime, engine: DockerClient, image: str, tmp_path: Path
) -> None:
    limits = ProcessLimits(memory_bytes=memory, cpus=0.5)
    wanted = request(tmp_path, {"do": "wait"}, resources=limits)
    pids = tmp_path / "work" / "pids"
    settings: list[dict[str, object]] = []

    def inspect_and_kill() -> None:
        wait_for(pids)
        (found,) = containers(engine, tmp_path)
        settings.append(engine.containers.get(found).attrs["HostConfig"])
        engine.containers.get(found).kill()

    with in_background(inspect_and_kill), pytest.raises(PassFailed, match="killed from outside"):
        runtime.run_image(image, toolchain(tmp_path), wanted, ignore)

    if memory == 256 * 2**20:
        assert settings[0]["Memory"] == settings[0]["MemorySwap"] == memory
    else:  # no more than the machine can spare, whatever the config says
        spared = int(engine.info()["MemTotal"] * 0.9)
        assert settings[0]["Memory"] == spared
        # Whoever asks Podman for no limit of swap gets as much again.
        assert settings[0]["MemorySwap"] in {-1, 2 * spared if is_podman(engine) else -1}
    assert settings[0]["NanoCpus"] == 500_000_000
    assert containers(engine, tmp_path) == []


def test_removed_from_outside_is_said(
    runtime: DockerRuntime, engine: DockerClient, image: str, tmp_path: Path
) -> None:
    wanted = request(tmp_path, {"do": "wait"})

    def remove() -> None:
        wait_for(tmp_path / "work" / "pids")
        (found,) = containers(engine, tmp_path)
        engine.containers.get(found).remove(force=True)

    with (
        in_background(remove),
        pytest.raises((EnvironmentUnable, PassFailed), match="from outside"),
    ):
        runtime.run_image(image, toolchain(tmp_path), wanted, ignore)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupt_stops_and_removes_the_container(
    number: signal.Signals,
    runtime: DockerRuntime,
    engine: DockerClient,
    image: str,
    tmp_path: Path,
) -> None:
    wanted = request(tmp_path, {"do": "wait"})
    pids = tmp_path / "work" / "pids"

    with heeded(number):
        handler = signal.getsignal(number)
        with in_background(signal_self_when(pids, number)), pytest.raises(Interrupted):
            runtime.run_image(image, toolchain(tmp_path), wanted, ignore)
        assert signal.getsignal(number) == handler

    assert time.time() - pids.stat().st_mtime < 10
    assert containers(engine, tmp_path) == []


@pytest.mark.alone
@pytest.mark.parametrize("do", ["wait", "resist"])
def test_container_of_a_killed_driver_is_removed_by_the_next_run(
    do: str, runtime: DockerRuntime, engine: DockerClient, image: str, tmp_path: Path
) -> None:
    """Whatever its process does against that: it sees nothing of the one that watches it."""
    script = f"""
from pathlib import Path
from urllib.parse import urlsplit
from targets.runtimes.docker import DockerRuntime
from targets.toolchain.engine import connect
from tests.support.capabilities import skip
from tests.support.runtime_support import STANDIN, request, toolchain
tmp = Path({str(tmp_path)!r})
DockerRuntime(connect(), tmp / "cache", STANDIN, python="python3").run_image(
    {image!r}, toolchain(tmp), request(tmp, {{"do": {do!r}}}), print)
"""
    root = Path(__file__).parents[2]
    driver = subprocess.Popen([sys.executable, "-c", script], cwd=root)
    wait_for(tmp_path / "work" / "pids")
    (left,) = containers(engine, tmp_path)
    driver.kill()
    driver.wait()
    assert engine.api.wait(left, timeout=5)["StatusCode"] == 128 + signal.SIGKILL
    assert containers(engine, tmp_path) == [left]
    if do == "resist":
        assert json.loads((tmp_path / "work" / "seen.json").read_text()) == []

    runtime.run_image(image, toolchain(tmp_path), request(tmp_path, {"do": "look"}), ignore)

    assert containers(engine, tmp_path) == []
    assert list((tmp_path / "cache" / "runs").iterdir()) == []


@pytest.mark.parametrize(
    ("cause", "error"),
    [
        ("disk_full", EnvironmentUnable),
        ("network", EnvironmentUnable),
        ("error", PassFailed),
        ("bad_input", InputRefused),
        ("out_of_memory", PassFailed),
    ],
)
def test_told_failures(
    cause: str,
    error: type[Exception],
    runtime: DockerRuntime,
    image: str,
    tmp_path: Path,
) -> None:
    wanted = request(tmp_path, {"do": "fail", "cause": cause, "message": "what happened"})

    with pytest.raises(error, match="s: what happened"):
        runtime.run_image(image, toolchain(tmp_path), wanted, ignore)


def test_silent_exit_shows_the_last_words(
    runtime: DockerRuntime, image: str, tmp_path: Path
) -> None:
    wanted = request(tmp_path, {"do": "leave", "code": 3})

    with pytest.raises(PassFailed, match="exit code 3") as caught:
        runtime.run_image(image, toolchain(tmp_path), wanted, ignore)

    assert "the last words" in caught.value.hint
    assert caught.value.log == tmp_path / "run.log"


@pytest.mark.parametrize(("do", "name"), CRASHES)
def test_crash_names_the_signal(
    do: str, name: str, runtime: DockerRuntime, image: str, tmp_path: Path
) -> None:
    with pytest.raises(PassFailed, match=f"s broke: ended by {name} "):
        runtime.run_image(image, toolchain(tmp_path), request(tmp_path, {"do": do}), ignore)


def test_engine_that_stops_is_named(
    engine: DockerClient,
    image: str,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    host = ContextAPI.get_current_context().Host
    address = tmp_path_factory.mktemp("s") / "s"
    door = EngineProxy(address, urlsplit(str(os.environ.get("DOCKER_HOST") or host)).path)
    client = DockerClient(f"unix://{address}")
    cut = DockerRuntime(client, tmp_path / "cache", STANDIN, python="python3")

    def stop() -> None:
        wait_for(tmp_path / "work" / "pids")
        door.shut()

    with (
        in_background(stop),
        pytest.raises(EnvironmentUnable, match="stopped or restarted") as caught,
    ):
        cut.run_image(image, toolchain(tmp_path), request(tmp_path, {"do": "wait"}), ignore)

    assert "last finished step" in caught.value.hint
    (left,) = containers(engine, tmp_path)
    engine.containers.get(left).remove(force=True)


def test_an_engine_that_cannot_give_the_gpu_says_what_to_install(
    runtime: DockerRuntime, engine: DockerClient, image: str, tmp_path: Path
) -> None:
    podman = is_podman(engine)
    if not podman and "nvidia" in engine.info()["Runtimes"]:
        skip("GPU refusal", "this engine gives containers a GPU")
    wanted = replace(request(tmp_path, {"do": "look"}), device=container_options(GPU))
    with pytest.raises(EnvironmentUnable, match="cannot give a container the GPU") as caught:
        runtime.run_image(image, toolchain(tmp_path), wanted, ignore)
    assert ("nvidia-ctk cdi" if podman else "nvidia-container-toolkit") in caught.value.hint
    assert containers(engine, tmp_path) == []


def test_dockers_engine_is_asked_for_one_gpu_by_its_uuid(
    docker_client: DockerClient, tmp_path: Path
) -> None:
    base = ensure_base(docker_client, read_recipe(BASE), tmp_path, print).image
    options: dict[str, Any] = dict(container_options(GPU))
    container = docker_client.containers.create(base, ["none"], **options)
    try:
        (asked,) = container.attrs["HostConfig"]["DeviceRequests"]
    finally:
        container.remove()
    assert asked["DeviceIDs"] == [GPU]
    assert asked["Count"] == 0


@pytest.mark.slow
def test_a_process_that_closes_its_outputs_may_go_on(
    runtime: DockerRuntime, image: str, tmp_path: Path
) -> None:
    """Longer than one request to the engine waits for an answer."""
    asked = request(tmp_path, {"do": "fall_silent", "seconds": 23})
    runtime.run_image(image, toolchain(tmp_path), asked, ignore)
