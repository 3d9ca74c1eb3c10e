"""Builds whose engine goes away, or stands still, at every step."""

from __future__ import annotations

import os
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
from targets.errors import Interrupted
from targets.runtimes.docker import DockerRuntime
from targets.toolchain.base import ensure_base, read_recipe
from tests.attack.life_cycle import FATES, PLANNED_MOMENTS, STEP_MOMENTS
from tests.attack.living import Builds, Stopwatch, builds, gone, left_in, running
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
    an_engine_that_stands_still(builds, door, "second ...")


ATTACKS = dict(
    zip(
        FATES,
        (an_engine_that_goes_away, an_engine_that_stands_still, an_engine_that_stops_for_a_while),
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
    killed = fate == "goes away"
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
        watch = Stopwatch()
        if not killed:
            build.process.send_signal(signal.SIGINT)
        watch.until(lambda: gone(processes), "processes are left")
        watch.until(lambda: gone([inside]), "the container goes on")
        assert build.finish(5) == (4 if killed else 130), build.said
        assert "Traceback" not in build.said
        assert ("Docker Engine stopped" if killed else UNKNOWN) in build.said
    finally:
        if killed:
            engine.start()
        else:
            engine.thaw()
    left = left_in(builds.cache)
    assert left == [], left
    builds.expect_next(finished, "docker", engine.around)
    assert engine.client.containers.list(all=True) == []


def test_a_frozen_engine_is_not_said_to_have_stopped(
    docker_client: docker.DockerClient, door: Door, tmp_path: Path
) -> None:
    image = ensure_base(docker_client, read_recipe(BASE), tmp_path / "base", print).image
    frozen = DockerRuntime(
        docker.DockerClient(door.address),
        tmp_path / "cache",
        STANDIN,
        python="python3",
    )

    def freeze_and_stop() -> None:
        wait_for(tmp_path / "work" / "pids")
        door.proxy.freeze()
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
