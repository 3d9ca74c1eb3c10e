"""Builds whose engine goes away, or stands still, at every step."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import docker
import psutil
import pytest
from docker.context import ContextAPI

from targets.cli.options import PROJECT
from targets.errors import EnvironmentUnable, Interrupted, QuernError
from targets.runtimes.docker import DockerRuntime
from targets.runtimes.heartbeat import PATIENCE, SILENT
from targets.runtimes.runtime import ProcessLimits
from targets.toolchain.base import ensure_base, read_recipe
from targets.toolchain.image import installer
from targets.toolchain.wheelhouse import Wheelhouse
from tests.attack.life_cycle import FATES, PLANNED_MOMENTS, STEP_MOMENTS
from tests.attack.living import STOPPED, Builds, Stopwatch, builds, gone, left_in, running
from tests.support import small_wheels
from tests.support.command import Quern
from tests.support.gated_builds import GatedBuild, Surroundings
from tests.support.own_engine import OwnEngine, own_engine
from tests.support.runtime_support import (
    STANDIN,
    EngineProxy,
    in_background,
    request,
    toolchain,
    wait_for,
)

__all__ = ["builds"]

pytestmark = pytest.mark.engine

BASE = PROJECT / "images" / "base" / "base.toml"
UNKNOWN = "may still be there"
IMAGE_FATES = ("answers, and Ctrl-C", "stands still, and Ctrl-C", "stands still")
GIVEN_UP = 120
"""Seconds within which a build gives up on an engine that does not answer."""


class Door:
    """A way to the engine that can be shut, or frozen, for one build alone."""

    def __init__(self, address: Path) -> None:
        host = str(os.environ.get("DOCKER_HOST") or ContextAPI.get_current_context().Host)
        self.proxy = EngineProxy(address, urlsplit(host).path)
        self.address = f"unix://{address}"
        self.around = Surroundings({"DOCKER_HOST": self.address})


@pytest.fixture
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """Yield it. Its path is short, as those of sockets must be."""
    made = Door(tmp_path_factory.mktemp("s") / "s")
    yield made
    made.proxy.shut()


def reached(builds: Builds, door: Door, moment: str) -> tuple[GatedBuild, list[str], list[str]]:
    """Return a build at that moment, the steps that it has finished, and its containers."""
    build = builds.start("docker", around=door.around)
    if moment == "planned":
        build.wait_for("small for cpu")
    else:
        build.reach(moment)
    finished = [step for step in ("first", "second") if f"✓ {step}" in build.said]
    return build, finished, build.containers()


def an_engine_that_goes_away(builds: Builds, door: Door, moment: str) -> None:
    build, finished, containers = reached(builds, door, moment)
    processes = build.started()
    watch = Stopwatch()
    door.proxy.shut()
    watch.until(lambda: gone(processes), "processes are left")
    # Nobody can ask the engine to stop them: they end by themselves.
    watch.until(lambda: running(containers) == [], "containers go on")
    assert build.finish(5) == 4, build.said
    assert "Traceback" not in build.said
    assert "Docker Engine" in build.said
    left = left_in(builds.cache)
    assert left == [], left
    builds.expect_next(finished, "docker")


def an_engine_that_stands_still(builds: Builds, door: Door, moment: str) -> None:
    """Nobody stops the build: it gives up on the engine by itself, and the container with it."""
    build, finished, containers = reached(builds, door, moment)
    processes = build.started()
    door.proxy.freeze()
    build.process.wait(GIVEN_UP)
    watch = Stopwatch()
    watch.until(lambda: gone(processes), "processes are left")
    watch.until(lambda: running(containers) == [], "containers go on")
    assert build.finish(5) == 4, build.said
    assert "Traceback" not in build.said
    assert SILENT in build.said or ("has not answered" in build.said and not containers)
    assert UNKNOWN in build.said or not containers
    left = left_in(builds.cache)
    assert left == [], left
    door.proxy.thaw()
    builds.expect_next(finished, "docker")


def an_engine_that_stands_still_until_ctrl_c(builds: Builds, door: Door, moment: str) -> None:
    build, finished, containers = reached(builds, door, moment)
    processes = build.started()
    door.proxy.freeze()
    watch = Stopwatch()
    build.process.send_signal(signal.SIGINT)
    watch.until(lambda: gone(processes), "processes are left")
    watch.until(lambda: running(containers) == [], "containers go on")
    assert build.finish(5) == 130, build.said
    assert "Traceback" not in build.said
    if containers:
        assert UNKNOWN in build.said
        assert "nothing" not in build.said
    left = left_in(builds.cache)
    assert left == [], left
    builds.expect_next(finished, "docker")


def an_engine_that_stops_for_a_while(builds: Builds, door: Door, moment: str) -> None:
    build, _, _ = reached(builds, door, moment)
    door.proxy.freeze()
    time.sleep(3)
    door.proxy.thaw()
    assert build.complete() == 0, build.said
    assert "Traceback" not in build.said
    builds.expect_next(["first", "second"], "docker")


def test_an_engine_that_goes_away_loses_nothing(builds: Builds, door: Door) -> None:
    an_engine_that_goes_away(builds, door, "second ...")


def test_an_engine_that_stands_still_keeps_nobody(builds: Builds, door: Door) -> None:
    an_engine_that_stands_still_until_ctrl_c(builds, door, "second ...")


ATTACKS = dict(
    zip(
        FATES,
        (
            an_engine_that_goes_away,
            an_engine_that_stands_still,
            an_engine_that_stands_still_until_ctrl_c,
            an_engine_that_stops_for_a_while,
        ),
        strict=True,
    )
)


@pytest.mark.slow
@pytest.mark.parametrize("moment", PLANNED_MOMENTS)
@pytest.mark.parametrize("fate", FATES)
def test_an_engine_at_any_moment(builds: Builds, door: Door, fate: str, moment: str) -> None:
    ATTACKS[fate](builds, door, moment)


@pytest.fixture(scope="module")
def engine(docker_client: docker.DockerClient, toolchain_python: Path) -> Iterator[OwnEngine]:
    """Yield an engine that may be killed; the usual one gives it its base image."""
    assert docker_client.ping()
    with own_engine(toolchain_python) as own:
        yield own


@pytest.mark.slow
@pytest.mark.parametrize("moment", STEP_MOMENTS)
@pytest.mark.parametrize("fate", FATES)
def test_a_real_engine_at_any_step(
    builds: Builds, engine: OwnEngine, fate: str, moment: str
) -> None:
    killed, ignored = fate == "goes away", fate == "stands still"
    build = builds.start("docker", around=engine.around)
    build.reach(moment)
    finished = [step for step in ("first", "second") if f"✓ {step}" in build.said]
    (container,) = build.containers(engine.client)
    inside = psutil.Process(engine.client.api.inspect_container(container)["State"]["Pid"])
    processes = build.started()
    try:
        engine.kill() if killed else engine.freeze()
        if fate == "stops for a while":
            time.sleep(3)
            engine.thaw()
            assert build.complete() == 0, build.said
            return
        if ignored:
            build.process.wait(GIVEN_UP)
        watch = Stopwatch()
        if not killed and not ignored:
            build.process.send_signal(signal.SIGINT)
        watch.until(lambda: gone(processes), "processes are left")
        watch.until(lambda: gone([inside]), "the container goes on")
        assert build.finish(5) == (4 if killed or ignored else 130), build.said
        assert "Traceback" not in build.said
        assert ("Docker Engine stopped" if killed else SILENT) in build.said
        assert UNKNOWN in build.said
    finally:
        if killed:
            engine.start()
        else:
            engine.thaw()
    left = left_in(builds.cache)
    assert left == [], left
    builds.expect_next(finished, "docker", engine.around)
    assert engine.client.containers.list(all=True) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("frozen", "stopped"), [(False, True), (True, True), (True, False)], ids=IMAGE_FATES
)
def test_an_image_of_which_the_making_is_stopped(
    quern: Quern, engine: OwnEngine, frozen: bool, stopped: bool, tmp_path: Path
) -> None:
    """The engine goes on building as long as somebody listens, and what it has built is large.
    Where it stands still and nobody stops anything, it is given up."""
    client = engine.client
    stages: dict[str, str | list[str] | bool] = {"label": "quern.stage"}
    patience = PATIENCE if stopped else 8
    made = DockerRuntime(client, tmp_path / "cache", patience=patience)
    shutil.copytree(BASE.parent, tmp_path / "images" / "base")
    wheel = small_wheels.make_wheel(tmp_path / "cache" / "wheels")
    wanted = small_wheels.toolchain(tmp_path / "images" / "test", wheel)
    for tool in Wheelhouse(quern.cache / "wheels").ensure(installer(wanted), print):
        shutil.copy(tool.path, wheel.parent)

    def stop() -> None:
        deadline = time.monotonic() + 60
        while not client.containers.list(filters=stages, ignore_removed=True):
            assert time.monotonic() < deadline, "no image is being built"
        if frozen:
            engine.freeze()
        if stopped:
            os.kill(os.getpid(), signal.SIGINT)

    try:
        error = Interrupted if stopped else EnvironmentUnable
        with in_background(stop), pytest.raises(error) as ended:
            made.prepare(wanted, print)
    finally:
        engine.thaw()
    assert (SILENT in str(ended.value)) == (not stopped)
    left = client.images.list(filters=stages)
    if frozen:
        assert "may still be there" in str(ended.value)
        assert "docker image prune" in ended.value.hint
        Stopwatch().until(lambda: client.containers.list(all=True) == [], "it goes on")
        client.images.prune({"dangling": True})
    elif UNKNOWN in str(ended.value):  # so busy that it did not say within three seconds
        client.images.prune({"dangling": True})
    else:
        assert str(ended.value) == STOPPED
        assert left == []
    assert client.images.list(filters=stages) == []
    assert client.containers.list(all=True) == []


@pytest.mark.parametrize(
    ("stopped", "patience", "seconds", "error", "said"),
    [
        pytest.param(True, 60, 60, Interrupted, SILENT, id="and Ctrl-C"),
        pytest.param(False, 2, 60, EnvironmentUnable, SILENT, id="for too long"),
        pytest.param(
            False, 60, 3, EnvironmentUnable, "took over 3.00 s", id="beyond a step's time"
        ),
    ],
)
def test_a_frozen_engine_is_not_said_to_have_stopped(
    docker_client: docker.DockerClient,
    door: Door,
    tmp_path: Path,
    stopped: bool,
    patience: float,
    seconds: float,
    error: type[QuernError],
    said: str,
) -> None:
    image = ensure_base(docker_client, read_recipe(BASE), tmp_path / "base", print).image
    client = docker.DockerClient(door.address, timeout=2)
    frozen = DockerRuntime(client, tmp_path / "cache", STANDIN, python="python3", patience=patience)
    limits = ProcessLimits(step_seconds=seconds)

    def freeze() -> None:
        wait_for(tmp_path / "work" / "pids")
        door.proxy.freeze()
        if stopped:
            os.kill(os.getpid(), signal.SIGINT)

    asked = request(tmp_path, {"do": "wait"}, resources=limits)
    with in_background(freeze), pytest.raises(error) as ended:
        frozen.run_image(image, toolchain(tmp_path), asked, print)

    assert said in str(ended.value)
    shown = f"{ended.value} {ended.value.hint}"
    assert "nothing" not in shown
    (name,) = [word for word in shown.split() if word.startswith("quern-")]
    left = docker_client.containers.get(name)
    try:
        # Its driver let go of the lease: it ends without the engine's help.
        assert left.wait(timeout=10)["StatusCode"] == 128 + signal.SIGKILL
    finally:
        left.remove(force=True)
