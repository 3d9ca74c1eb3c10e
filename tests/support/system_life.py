"""What becomes of a build and its job when somebody ends one of them: the same on every system.

A module of tests has a fixture ``place`` and subclasses of :class:`LifeInBrief` and :class:`Life`.
"""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

import pytest

from tests.support.command import Quern
from tests.support.gated_builds import GatedBuild, Surroundings
from tests.support.project import Project
from tests.support.runtime_support import in_background


class Place(Protocol):
    """A system that runs, as its owner sees it."""

    name: str
    """What the config calls it."""
    ended_there: str
    """What a build says whose job somebody has ended there."""

    @property
    def around(self) -> Surroundings:
        """Return what a command sees there that uses it."""

    def working(self) -> list[Path]:
        """Return the folders for temporary files of the steps that wait."""

    def left(self) -> Sequence[str]:
        """Return what is left there of jobs."""

    def end_jobs(self) -> None:
        """End every job, as somebody else would who may."""


class BuildThere(GatedBuild):
    """A gated build whose steps wait on a system."""

    def __init__(self, quern: Quern, place: Place, arguments: Sequence[str]) -> None:
        self._place = place
        super().__init__(quern, "python", arguments, place.around)

    def waiting(self) -> list[Path]:
        return self._place.working()


class Attached(BuildThere):
    """A build that is gone on with by the ID of its job."""

    command = "attach"


def started(quern: Quern, place: Place, project: Project, *more: str) -> BuildThere:
    dist = str(project.folder / "dist")
    return BuildThere(quern, place, ["--config", str(project.config), "--dist", dist, *more])


def detached(quern: Quern, place: Place, project: Project) -> tuple[BuildThere, str]:
    """Return a build that did not wait for its job, and the ID of that."""
    build = started(quern, place, project, "--detach")
    assert build.finish(300) == 0, build.said
    (job,) = _jobs(quern, place)
    assert f"nox -s attach -- {job}" in build.said
    return build, job


def _jobs(quern: Quern, place: Place) -> dict[str, str]:
    """Return the state of each job that is noted here, by its ID."""
    listed = quern("jobs", "--json", environment=place.around.environment)
    jobs = json.loads(listed.stdout)["jobs"]
    assert {one["system"] for one in jobs} <= {place.name}
    return {one["id"]: one["state"] for one in jobs}


@contextmanager
def letting_go(place: Place, act: str = "") -> Iterator[None]:
    """Let every step there do that, and end, while the block runs."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(0.05):
            for folder in place.working():
                with suppress(OSError):
                    (folder / "go.partial").write_text(act)
                    (folder / "go.partial").rename(folder / "go")

    with in_background(work):
        try:
            yield
        finally:
            over.set()


def cached_here(quern: Quern, project: Project) -> list[str]:
    """Return the steps that are in the cache of this machine."""
    planned = quern("plan", "--config", str(project.config), "--system", "local", "--json")
    steps = json.loads(planned.stdout)["plans"][0]["steps"]
    return [one["name"] for one in steps if one["cached"]]


class LifeInBrief:
    """A build that somebody ends here."""

    def test_ctrl_c_ends_the_job(self, fresh: Quern, place: Place, project: Project) -> None:
        build = started(fresh, place, project)
        try:
            build.reach("second ...")
            build.process.send_signal(signal.SIGINT)
            assert build.finish(120) == 130, build.said
        finally:
            build.kill()
        assert place.left() == []  # at once: it waits until that is so
        assert "ending the job" in build.said
        assert cached_here(fresh, project) == ["first"]  # what had finished was fetched


class Life:
    """The rest of a life: builds and jobs that end in other ways."""

    @pytest.mark.parametrize("way", ["build", pytest.param("attach", marks=pytest.mark.slow)])
    def test_a_driver_that_is_killed_is_followed_by_another(
        self, fresh: Quern, place: Place, project: Project, way: str
    ) -> None:
        build = started(fresh, place, project)
        build.reach("second ...")
        build.kill()
        (job,) = _jobs(fresh, place)
        assert place.left()
        again = Attached(fresh, place, [job]) if way == "attach" else started(fresh, place, project)
        try:
            assert again.complete() == 0, again.said
        finally:
            again.kill()
        (line,) = [one for one in again.lines if "going on with the job" in one]
        assert job in line
        assert (project.folder / "dist/small/cpu/model/whole").read_text() == "half of it"
        assert place.left() == []
        assert _jobs(fresh, place) == {}

    def test_a_job_that_somebody_ends_there(
        self, fresh: Quern, place: Place, project: Project
    ) -> None:
        build = started(fresh, place, project)
        try:
            build.reach("second ...")
            place.end_jobs()
            assert build.finish(120) == 4, build.said
        finally:
            build.kill()
        assert place.ended_there in build.said
        assert place.left() == []
        assert cached_here(fresh, project) == ["first"]

    @pytest.mark.slow
    def test_a_job_that_nobody_waits_for(
        self, fresh: Quern, place: Place, project: Project
    ) -> None:
        build, job = detached(fresh, place, project)
        build.let_go()  # it ends while nobody looks
        with letting_go(place):
            attached = fresh("attach", job, environment=place.around.environment)
        assert attached.code == 0, attached.stdout + attached.stderr
        for said in ("✓ first", "✓ second", "✓ third"):
            assert attached.stdout.count(said) == 1, attached.stdout
        assert (project.folder / "dist/small/cpu/model/whole").is_file()
        assert place.left() == []
        assert _jobs(fresh, place) == {}
        assert fresh("attach", job).code == 2

    def test_attach_says_how_a_job_ended_that_nobody_waited_for(
        self, fresh: Quern, place: Place, project: Project
    ) -> None:
        build, job = detached(fresh, place, project)
        build.let_go("fail")
        attached = fresh("attach", job, environment=place.around.environment)
        assert attached.code == 5, attached.stdout + attached.stderr
        assert "it was told to fail" in attached.stderr
        assert place.left() == []

    def test_a_job_that_is_cancelled(self, fresh: Quern, place: Place, project: Project) -> None:
        _, job = detached(fresh, place, project)
        assert _jobs(fresh, place)[job] in ("queued", "running")
        cancelled = fresh("cancel", job, environment=place.around.environment)
        assert cancelled.code == 0, cancelled.stderr
        assert place.left() == []
        assert _jobs(fresh, place) == {}
