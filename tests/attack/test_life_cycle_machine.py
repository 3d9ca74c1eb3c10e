"""Builds on a machine without memory or room, whose clock steps, or that builds the same twice."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.attack.life_cycle import (
    ACTIVE_MOMENTS,
    CLOCK_STEPS,
    MEETINGS,
    PLANNED_MOMENTS,
    RUNTIMES,
    STEP_MOMENTS,
)
from tests.attack.living import Builds, builds, left_in, running
from tests.support.capabilities import skip_or_fail
from tests.support.clocks import SteppingClock
from tests.support.command import Quern
from tests.support.gated_builds import GatedBuild, gated_project
from tests.support.mounts import Mounts, mounts

__all__ = ["builds", "mounts"]

GROUPS = (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup"))
"""Where control groups for memory are made: version 1, version 2."""
LIMIT = 400 * 2**20


def finished_by(build: GatedBuild) -> list[str]:
    """Return the passes that it has said are finished."""
    return [step for step in ("first", "second") if f"✓ {step}" in build.said]


class Group:
    """A control group with a limit of memory."""

    def __init__(self) -> None:
        root = next((one for one in GROUPS if (one / "cgroup.procs").exists()), GROUPS[0])
        self._folder = root / f"quern-test-{os.getpid()}-{time.monotonic_ns()}"
        try:
            self._folder.mkdir()
            names = ("memory.limit_in_bytes", "memory.max")
            limit = next(one for name in names if (one := self._folder / name).exists())
            limit.write_text(str(LIMIT))
        except (OSError, StopIteration):
            skip_or_fail("memory", "this user may not make a control group with a limit")

    def take(self, build: GatedBuild) -> None:
        """Have all processes of the build in it."""
        for process in build.started():
            (self._folder / "cgroup.procs").write_text(str(process.pid))

    def remove(self) -> None:
        with suppress(OSError):
            self._folder.rmdir()


@pytest.fixture
def group() -> Iterator[Group]:
    """Yield a control group."""
    made = Group()
    yield made
    made.remove()


def starve(builds: Builds, runtime: str, moment: str, limit: Callable[[GatedBuild], None]) -> None:
    """Have the step of that moment take more memory than there is, and let another build go on."""
    build = builds.start(runtime)
    build.reach(moment)
    finished = finished_by(build)
    limit(build)
    build.let_go("hoard")
    assert build.finish(120) == 5, build.said
    step = moment.partition(" ")[0]
    assert f"{step} ran out of memory" in build.said
    assert "Traceback" not in build.said
    left = left_in(builds.cache)
    assert left == [], left
    builds.expect_next(finished, runtime)


@pytest.mark.engine
def test_a_step_killed_for_memory_loses_nothing(builds: Builds) -> None:
    with builds.project.config.open("a") as config:
        config.write(f'\n[resources]\nmemory = "{LIMIT}"\n')
    starve(builds, "docker", "second ...", lambda _: None)


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.parametrize("moment", STEP_MOMENTS)
def test_a_container_killed_for_memory_at_any_step(builds: Builds, moment: str) -> None:
    with builds.project.config.open("a") as config:
        config.write(f'\n[resources]\nmemory = "{LIMIT}"\n')
    starve(builds, "docker", moment, lambda _: None)


@pytest.mark.slow
@pytest.mark.parametrize("moment", STEP_MOMENTS)
def test_a_process_killed_for_memory_at_any_step(builds: Builds, group: Group, moment: str) -> None:
    starve(builds, "venv", moment, group.take)


@pytest.fixture
def small(quern: Quern, toolchain_python: Path, mounts: Mounts, tmp_path: Path) -> Iterator[Builds]:
    """Yield builds whose cache has a disk of 40 MB."""
    assert toolchain_python.exists()
    mounts.small(tmp_path / "cache", "40m")
    made = Builds(quern, tmp_path)
    yield made
    made.kill_all()


def expect_full(small: Builds, build: GatedBuild, runtime: str, finished: list[str]) -> None:
    """See that the build said that the disk is full, and let another one go on when it is not."""
    code = build.finish(120)
    assert code in (0, 4), build.said
    assert "Traceback" not in build.said
    if code:
        assert "full" in build.said or "space" in build.said or "room" in build.said, build.said
    (small.cache / "filler").unlink(missing_ok=True)
    small.expect_next(finished, runtime)


@pytest.mark.parametrize("runtime", ["venv"])
def test_a_step_that_fills_the_disk_loses_nothing(small: Builds, runtime: str) -> None:
    build = small.start(runtime)
    build.reach("second ...")
    build.let_go("fill")
    expect_full(small, build, runtime, ["first"])


@pytest.mark.slow
@pytest.mark.parametrize("moment", STEP_MOMENTS)
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_any_step_that_fills_the_disk(small: Builds, runtime: str, moment: str) -> None:
    build = small.start(runtime)
    build.reach(moment)
    finished = finished_by(build)
    build.let_go("fill")
    expect_full(small, build, runtime, finished)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ACTIVE_MOMENTS)
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_disk_that_others_fill_at_any_moment(small: Builds, runtime: str, moment: str) -> None:
    build = small.start(runtime)
    build.reach(moment)
    finished = finished_by(build)
    with suppress(OSError), (small.cache / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 12))
    if moment.endswith("..."):
        with suppress(OSError):  # not even an empty file
            build.let_go()
    small.complete_all(build)
    expect_full(small, build, runtime, finished)


def other_project(folder: Path) -> Path:
    """Return the config of a project of which no step is that of another."""
    project = gated_project(folder)
    project.edit('name = "small"', 'name = "small"\nseed = 1')
    return project.config


@pytest.mark.slow
@pytest.mark.parametrize("seconds", CLOCK_STEPS)
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_clock_that_steps_ends_no_build(
    builds: Builds, runtime: str, seconds: int, tmp_path: Path
) -> None:
    """It steps during one build, and another one begins and ends, and cleans, by the new time."""
    clock = SteppingClock(tmp_path / "clock")
    other = other_project(tmp_path / "other")
    first = builds.start(runtime, around=clock.around)
    first.reach("second ...")
    containers = first.containers() if runtime == "docker" else []
    folders = {*builds.cache.glob("runs/*"), *builds.cache.glob("work/*")}
    assert folders

    clock.step(seconds)
    second = builds.start(runtime, config=other, dist=tmp_path / "dist2", around=clock.around)
    second.wait_for("first ...")
    assert running(containers) == containers
    assert folders <= {*builds.cache.glob("runs/*"), *builds.cache.glob("work/*")}
    builds.clean()
    builds.complete_all(first, second)
    for build in (first, second):
        assert build.finish(5) == 0, build.said
    builds.expect_next(["first", "second"], runtime)


def meet(builds: Builds, runtime: str, meeting: str, moment: str, tmp_path: Path) -> None:
    """Have a second build wait for the first and go on from where that ends, however it does."""
    first = builds.start(runtime)
    if moment == "planned":
        first.wait_for("small for cpu")
    else:
        first.reach(moment)
    finished = finished_by(first)
    second = builds.start(runtime, dist=tmp_path / "dist2")
    second.wait_for("small for cpu")
    if moment.endswith("..."):
        second.wait_for("waiting for it to finish")
    sent = MEETINGS[meeting]
    if sent is not None:
        first.process.send_signal(sent)
    builds.clean()
    builds.complete_all(first, second)
    assert second.finish(5) == 0, second.said
    assert not [step for step in finished if f"{step} ..." in second.said], second.said
    if sent is None:
        assert first.finish(5) == 0, first.said
    builds.expect_next(["first", "second"], runtime)


def test_a_build_goes_on_from_where_one_was_killed(builds: Builds, tmp_path: Path) -> None:
    meet(builds, "venv", "the first is killed", "second ...", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("moment", PLANNED_MOMENTS)
@pytest.mark.parametrize("meeting", MEETINGS)
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_two_builds_at_once(
    builds: Builds, runtime: str, meeting: str, moment: str, tmp_path: Path
) -> None:
    meet(builds, runtime, meeting, moment, tmp_path)
