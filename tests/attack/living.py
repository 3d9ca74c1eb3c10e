"""What attacks on living builds share: builds in a cache of their own, and what they left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import docker
import psutil
import pytest

from tests.support.command import Quern
from tests.support.gated_builds import GatedBuild, Surroundings, gated_project
from tests.support.quick_builds import cached, report_of

SOON = 5.0
"""Seconds within which everything is stopped, whatever is signalled."""
KILLED = 10.0
"""Seconds after which a CI service kills everything."""
STOPPED = "stopped; nothing half-written is left"
_PRESSURE = [Path("/proc/pressure") / name for name in ("cpu", "io")]
"""https://docs.kernel.org/accounting/psi.html"""
_TEMPORARY = ("work", "runs", "scratch", "in-use", "locks")


class Stopwatch:
    """Measures, from its creation, the time in which no process of the machine waited for a CPU or
    a disk: what others take from a build is not its own."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._waited = _waited()

    def until(self, done: Callable[[], bool], what: str) -> None:
        """Return when ``done``; fail when that takes longer than :data:`SOON`."""
        while not done():
            took = time.monotonic() - self._began
            waited = _waited() - self._waited
            late = f"{what} after {took:.1f} s, {waited:.1f} s of them waited for others"
            assert took - waited < SOON, late
            assert took < KILLED, late
            time.sleep(0.05)


def _waited() -> float:
    """Return for how many seconds some process of the machine has waited since that started."""
    firsts = [one.read_text().splitlines()[0] for one in _PRESSURE if one.exists()]
    return sum(int(line.rpartition("total=")[2]) for line in firsts) / 1e6


class Builds:
    """Builds of one gated project in one cache."""

    def __init__(self, quern: Quern, folder: Path) -> None:
        """``quern`` has the toolchains; ``folder`` is for everything else."""
        self.cache = folder / "cache"
        self.dist = folder / "dist"
        self.project = gated_project(folder / "project")
        self._quern = Quern(self.cache)
        self._started: list[GatedBuild] = []
        self.cache.mkdir(exist_ok=True)
        for name in ("wheels", "venvs"):
            (self.cache / name).symlink_to(quern.cache / name)

    def start(
        self,
        runtime: str,
        door: str = "python",
        dist: Path | None = None,
        config: Path | None = None,
        around: Surroundings = Surroundings(),  # noqa: B008 - immutable
    ) -> GatedBuild:
        """Start a build of the project, or of another one."""
        where = ("--config", str(config or self.project.config), "--dist", str(dist or self.dist))
        arguments = (*where, "--runtime", runtime)
        build = GatedBuild(self._quern, door, arguments, around)
        self._started.append(build)
        return build

    def clean(self) -> None:
        """Have everything cleaned away that no build uses."""
        ran = self._quern("clean", "--older-than", "0")
        assert ran.code == 0, ran.stderr

    def complete_all(self, *started: GatedBuild) -> None:
        """Let every step of the builds go, whosever it is, until all have ended."""
        while any(build.process.poll() is None for build in started):
            for folder in self.cache.glob("work/*/*/scratch.partial"):
                with suppress(OSError):  # its process has just ended
                    (folder / "go").touch()
            time.sleep(0.05)

    def expect_next(
        self,
        finished: Sequence[str],
        runtime: str,
        around: Surroundings = Surroundings(),  # noqa: B008 - immutable
    ) -> None:
        """Build it to its end: ``finished`` need not run again, and nothing is left of anything."""
        build = self.start(runtime, around=around)
        code = build.complete()
        assert code == 0, build.said
        report = report_of(self.dist)
        assert report["status"] == "passed"
        known = cached(report)
        assert all(known[step] for step in finished), known
        left = [*left_in(self.cache), *containers_of(self.cache)]
        assert left == [], left

    def kill_all(self) -> None:
        """End what still runs."""
        for build in self._started:
            build.kill()


@pytest.fixture
def builds(quern: Quern, toolchain_python: Path, tmp_path: Path) -> Iterator[Builds]:
    """Yield builds in a cache with the toolchain of the others and no results."""
    assert toolchain_python.exists()
    made = Builds(quern, tmp_path)
    yield made
    made.kill_all()


def gone(processes: Sequence[psutil.Process]) -> bool:
    """Return whether all of them have ended."""
    return not [one for one in processes if _runs(one)]


def _runs(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def running(containers: Sequence[str]) -> list[str]:
    """Return those of the containers that still run."""
    left = []
    for name in containers:
        with suppress(docker.errors.NotFound):
            if docker.from_env().containers.get(name).status == "running":
                left.append(name)
    return left


def left_in(cache: Path) -> list[Path]:
    """Return what a build leaves in a cache only while it lasts."""
    temporary = [path for name in _TEMPORARY for path in (cache / name).glob("*")]
    return [*temporary, *cache.glob("objects/*/*.partial"), *cache.glob("objects/*/*.evicted")]


def containers_of(cache: Path) -> list[str]:
    """Return the IDs of the containers that have a folder of ``cache`` mounted."""
    try:
        client = docker.from_env()
        found = client.containers.list(all=True, ignore_removed=True)
    except docker.errors.DockerException:
        return []
    return [
        str(one.id)
        for one in found
        if any(str(cache) in str(mount.get("Source")) for mount in one.attrs["Mounts"])
    ]
