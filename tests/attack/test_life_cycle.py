"""Builds that are stopped in every way, through both front doors and in both runtimes.

None leaves a process, a container, a lock or a half-written result, none loses a finished step, and
none says what is not so. What is done to the cache is in ``test_life_cycle_cache.py``.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import docker
import psutil
import pytest
from docker.context import ContextAPI

from targets.cli.options import PROJECT
from targets.errors import Interrupted
from targets.runtimes.docker import RUN_LABEL, DockerRuntime
from targets.toolchain.base import ensure_base, read_recipe
from tests.support.command import Quern
from tests.support.mounts import Mounts, mounts
from tests.support.quick_builds import cached, quick_project, report_of
from tests.support.running_builds import Running, slow_project
from tests.support.runtime_support import (
    STANDIN,
    EngineProxy,
    in_background,
    request,
    toolchain,
    wait_for,
)

__all__ = ["mounts"]

SOON = 5.0
"""Seconds within which everything is stopped, whatever is signalled."""
STOPPED = "stopped; nothing half-written is left"
BASE = PROJECT / "images" / "base" / "base.toml"


class Sent(NamedTuple):
    """One signal to the process that was started, so many seconds after the first."""

    seconds: float
    number: signal.Signals


ENDS: dict[str, tuple[Sent, ...]] = {
    "Ctrl-C": (Sent(0, signal.SIGINT),),
    "SIGTERM": (Sent(0, signal.SIGTERM),),
    "SIGHUP": (Sent(0, signal.SIGHUP),),
    "Ctrl-C again and again": tuple(Sent(number / 5, signal.SIGINT) for number in range(8)),
    "cancel of a CI service": (
        *(Sent(0, signal.SIGINT), Sent(7.5, signal.SIGTERM), Sent(10, signal.SIGKILL)),
    ),
    "killed outright": (Sent(0, signal.SIGKILL),),
}
DOORS = ("nox", "python")
RUNTIMES = (pytest.param("docker", marks=pytest.mark.engine), "venv")


class Build(Running):
    """A build in the background, through one of the front doors, and all that it started."""

    def __init__(self, quern: Quern, door: str, arguments: Sequence[str]) -> None:
        through_nox = (sys.executable, str(PROJECT / "nox"), "-s", "build-cpu", "--", *arguments)
        command = through_nox if door == "nox" else quern.command("build", *arguments)
        super().__init__(
            subprocess.Popen(
                command,
                cwd=PROJECT,
                env={**quern.environment(), "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        )

    def started(self) -> list[psutil.Process]:
        """Return every process of the build."""
        own = psutil.Process(self.process.pid)
        return [own, *own.children(recursive=True)]

    def send(self, signals: Sequence[Sent]) -> None:
        """Send the signals, each if the process is still there at its time."""
        began = time.monotonic()
        for seconds, number in signals:
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(max(0, began + seconds - time.monotonic()))
            if self.process.poll() is not None:
                return
            self.process.send_signal(number)


@pytest.fixture
def fresh(quern: Quern, toolchain_python: Path, tmp_path: Path) -> Quern:
    """Return a cache with the toolchain of the others and no results."""
    assert toolchain_python.exists()
    (tmp_path / "cache").mkdir()
    for name in ("wheels", "venvs"):
        (tmp_path / "cache" / name).symlink_to(quern.cache / name)
    return Quern(tmp_path / "cache")


@pytest.fixture
def build(fresh: Quern, tmp_path: Path) -> Iterator[Callable[..., Build]]:
    """Yield a function that starts a build whose training lasts until it is stopped."""
    builds: list[Build] = []

    def start(door: str, runtime: str) -> Build:
        project = slow_project(tmp_path / "project", seed=9)
        where = ("--config", str(project.config), "--dist", str(tmp_path / "dist"))
        builds.append(Build(fresh, door, (*where, "--runtime", runtime)))
        return builds[-1]

    yield start
    for one in builds:
        with suppress(ProcessLookupError):
            os.killpg(one.process.pid, signal.SIGKILL)


def containers_of(build: Build) -> list[str]:
    """Return the IDs of the containers of the processes of a build that runs."""
    client = docker.from_env()
    marks = {f"-p{process.pid}-" for process in build.started()}
    found = client.containers.list(all=True, filters={"label": RUN_LABEL}, ignore_removed=True)
    return [str(one.id) for one in found if any(mark in one.labels[RUN_LABEL] for mark in marks)]


def running(containers: Sequence[str]) -> list[str]:
    """Return those of the containers that still run."""
    left = []
    for name in containers:
        with suppress(docker.errors.NotFound):
            if docker.from_env().containers.get(name).status == "running":
                left.append(name)
    return left


def wait_until(done: Callable[[], bool], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def attack(
    build: Callable[..., Build], cache: Path, end: str, door: str, runtime: str, moment: str
) -> None:
    """Stop a build at that moment, and see that nothing of it is left."""
    running_build = build(door, runtime)
    if moment:
        running_build.wait_for(moment)
    else:
        time.sleep(0.5)
    processes = running_build.started()
    containers = containers_of(running_build) if runtime == "docker" else []
    assert containers or runtime == "venv" or not moment.endswith("...")

    running_build.send(ENDS[end])
    # On two busy cores: what is proved is that it is not 10 s, when everything is killed.
    wait_until(
        lambda: not [one for one in processes if one.is_running() and one.status() != "zombie"],
        SOON + 2,
        f"left: {[one for one in processes if one.is_running()]}",
    )
    wait_until(lambda: running(containers) == [], SOON, "containers go on")
    running_build.finish(5)
    outright = end == "killed outright"
    if not outright and moment.endswith("..."):
        assert running_build.process.returncode == 130
        assert STOPPED in "".join(running_build.lines)
    if not outright or door == "nox":
        # The command cleaned up; killed through the front door, it was told.
        left = [
            path
            for name in ("work", "runs", "scratch", "in-use", "locks")
            for path in (cache / name).glob("*")
        ]
        assert left == []
    assert not list(cache.glob("objects/*/*.partial"))


@pytest.mark.parametrize(
    ("end", "door", "runtime"),
    [
        ("cancel of a CI service", "nox", "venv"),
        pytest.param("cancel of a CI service", "nox", "docker", marks=pytest.mark.engine),
        ("killed outright", "nox", "venv"),
        pytest.param("killed outright", "python", "docker", marks=pytest.mark.engine),
    ],
)
def test_nothing_is_left(
    build: Callable[..., Build], fresh: Quern, end: str, door: str, runtime: str
) -> None:
    attack(build, fresh.cache, end, door, runtime, "pretrain ...")


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["", "pretrain ...", "✓ pretrain", "lora ..."])
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("end", ENDS)
def test_nothing_is_left_at_any_moment(
    build: Callable[..., Build], fresh: Quern, end: str, door: str, runtime: str, moment: str
) -> None:
    attack(build, fresh.cache, end, door, runtime, moment)


@pytest.mark.engine
def test_a_frozen_engine_is_not_said_to_have_stopped(
    docker_client: docker.DockerClient, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    host = str(os.environ.get("DOCKER_HOST") or ContextAPI.get_current_context().Host)
    address = tmp_path_factory.mktemp("s") / "s"
    door = EngineProxy(address, urlsplit(host).path)
    image = ensure_base(docker_client, read_recipe(BASE), tmp_path / "base", print).image
    frozen = DockerRuntime(
        docker.DockerClient(f"unix://{address}"), tmp_path / "cache", STANDIN, python="python3"
    )

    def freeze_and_stop() -> None:
        wait_for(tmp_path / "work" / "pids")
        door.freeze()
        os.kill(os.getpid(), signal.SIGINT)

    with in_background(freeze_and_stop), pytest.raises(Interrupted) as stopped:
        frozen.run_image(image, toolchain(tmp_path), request(tmp_path, {"do": "wait"}), print)

    said = str(stopped.value)
    assert "nothing" not in said
    assert "does not answer" in said
    (name,) = [word for word in said.split() if word.startswith("quern-")]
    left = docker_client.containers.get(name)
    try:
        # Its driver let go of the lease: it ends without the engine's help.
        assert left.wait(timeout=10)["StatusCode"] == 128 + signal.SIGKILL
    finally:
        left.remove(force=True)


@pytest.fixture
def small_disk(mounts: Mounts, tmp_path: Path) -> Path:
    """Return a file system of 200 MB."""
    return mounts.small(tmp_path / "small", "200m")


@pytest.mark.slow
def test_a_disk_that_fills_up_at_any_step_loses_nothing(
    quern: Quern, toolchain_python: Path, small_disk: Path, tmp_path: Path
) -> None:
    assert toolchain_python.exists()
    for name in ("wheels", "venvs"):
        (small_disk / name).symlink_to(quern.cache / name)
    cache, filler = Quern(small_disk), small_disk / "filler"
    project = quick_project(tmp_path / "project", seed=9)
    dist = tmp_path / "dist"
    arguments = ("--config", str(project.config), "--dist", str(dist), "--runtime", "venv")
    finished: set[str] = set()
    for moment in ("pretrain ...", "✓ pretrain", "merge ...", "model_builder ..."):
        stopped = Build(cache, "python", arguments)
        stopped.wait_for(moment)
        with suppress(OSError), filler.open("wb") as file:
            while True:
                file.write(bytes(1 << 16))
        code = stopped.finish(300)
        filler.unlink()
        assert code in (0, 4), "".join(stopped.lines)
        if code == 4:
            assert "Traceback" not in "".join(stopped.lines)
            assert str(small_disk) in "".join(stopped.lines) or "disk" in "".join(stopped.lines)
        now = {path.name for path in (small_disk / "objects").glob("*/*")}
        assert finished <= now
        finished = now
    last = cache("build", *arguments)
    assert last.code == 0, last.stderr
    assert cached(report_of(dist))["pretrain"]


@pytest.mark.slow
def test_two_builds_and_a_cleaning_share_a_cache(fresh: Quern, tmp_path: Path) -> None:
    """The second waits for the first, and what both use is never cleaned away."""
    project = quick_project(tmp_path / "project", seed=9)
    arguments = ["--config", str(project.config), "--runtime", "venv"]
    builds = [
        Build(fresh, "python", (*arguments, "--dist", str(tmp_path / f"dist{number}")))
        for number in range(2)
    ]
    while any(one.process.poll() is None for one in builds):
        ran = fresh("clean", "--older-than", "0")
        assert ran.code == 0, ran.stderr
        time.sleep(1)
    for number, one in enumerate(builds):
        assert one.finish(10) == 0, "".join(one.lines)
        assert report_of(tmp_path / f"dist{number}")["status"] == "passed"
    ran = fresh("clean", "--older-than", "0")
    assert "stay" not in ran.stdout
    assert not list((fresh.cache / "objects").glob("*/*"))
