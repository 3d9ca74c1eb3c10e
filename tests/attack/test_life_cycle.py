"""Builds that are stopped in every way, at every step, through both front doors and runtimes.

None leaves a process, a container, a lock or a half-written result, none loses a finished step, and
none says what is not so. What is tried, and how often, is in ``life_cycle.py``.
"""

from __future__ import annotations

import time

import pytest

from tests.attack.life_cycle import DOORS, ENDS, MOMENTS, OUTRIGHT, QUICK_ENDS, RUNTIMES
from tests.attack.living import (
    STOPPED,
    Builds,
    Stopwatch,
    builds,
    containers_of,
    gone,
    left_in,
    running,
)

__all__ = ["builds"]


def attack(builds: Builds, end: str, door: str, runtime: str, moment: str) -> None:
    """Stop a build at that moment, see that nothing of it is left, and let another one go on."""
    build = builds.start(runtime, door)
    if moment == "starting":
        time.sleep(0.4)
    elif moment == "planned":
        build.wait_for("small for cpu")
    else:
        build.reach(moment)
    finished = [step for step in ("first", "second") if f"✓ {step}" in build.said]
    processes = build.started()
    containers = build.containers() if runtime == "docker" else []
    assert containers or runtime == "venv" or not moment.endswith("...")

    watch = Stopwatch()
    build.send(ENDS[end])
    watch.until(lambda: gone(processes), "processes are left")
    watch.until(lambda: running(containers) == [], "containers go on")
    code = build.finish(5)
    # While Python itself starts it runs no code of ours, and shows a traceback of its own.
    assert "Traceback" not in build.said or (moment == "starting" and "targets" not in build.said)
    if end not in OUTRIGHT and moment != "starting":
        assert code == 130, build.said
        assert STOPPED in build.said or (not containers and "interrupted" in build.said)
    if end not in OUTRIGHT or door == "nox":
        # The command cleaned up; killed through the front door, it was told.
        left = left_in(builds.cache)
        assert left == [], left
    builds.expect_next(finished, runtime)


@pytest.mark.parametrize(
    ("end", "door", "runtime", "moment"),
    [
        pytest.param(*quick, marks=[pytest.mark.engine] if "docker" in quick else [])
        for quick in QUICK_ENDS
    ],
)
def test_nothing_is_left(builds: Builds, end: str, door: str, runtime: str, moment: str) -> None:
    attack(builds, end, door, runtime, moment)


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("end", ENDS)
def test_nothing_is_left_at_any_moment(
    builds: Builds, end: str, door: str, runtime: str, moment: str
) -> None:
    attack(builds, end, door, runtime, moment)


@pytest.mark.engine
def test_what_a_killed_build_left_goes_without_a_step_in_a_container(builds: Builds) -> None:
    build = builds.start("docker")
    build.reach("first ...")
    (container,) = build.containers()
    build.send(ENDS["killed outright"])
    build.finish(5)
    Stopwatch().until(lambda: running([container]) == [], "the container goes on")
    assert containers_of(builds.cache) != []
    builds.clean()
    left = [*containers_of(builds.cache), *left_in(builds.cache)]
    assert left == [], left
