"""What all tests share, also where several processes run them side by side."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import ReadWriteLock

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.scheduler import LoadGroupScheduling

_RELEASES = "test_release"
"""How the names of the files begin that share the costly fixture of releases."""
_LONGEST = ("test_tone.py", "test_olive.py", "test_targets.py")
_TURNS = itertools.count()
_COSTLY = {"integration", "families", "slurm"}
"""Folders of tests that need a toolchain."""


@pytest.fixture(autouse=True)
def no_leftovers_of_the_users_own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests apart from the cache of the person who runs them."""
    monkeypatch.delenv("QUERN_CACHE", raising=False)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests into an order in which no process waits for another one.

    One makes the toolchains; unit tests need none, and are run meanwhile. Then comes what needs no
    image, and what does: first the releases, the shipped example, Olive's files and
    all targets, which take longest. Those that run alone are the last, in one process.
    """
    for item in items:
        if item.get_closest_marker("alone"):
            item.add_marker(pytest.mark.xdist_group("alone"))
    with_images = {item.path for item in items if item.get_closest_marker("engine")}
    items.sort(
        key=lambda item: (
            item.get_closest_marker("alone") is not None,
            item.get_closest_marker("first") is None,
            bool(_COSTLY & {*item.path.parts}),
            item.path in with_images or _is_of_releases(item.path),
            not _is_of_releases(item.path),
            item.path.name not in _LONGEST,
        )
    )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadGroupScheduling:
    """Keep in one process the tests of a file, and of files that share one costly fixture."""
    from xdist.scheduler import LoadGroupScheduling

    class ByFixture(LoadGroupScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file, _, test = nodeid.partition("::")
            if test.endswith("@alone"):
                return "alone"
            return _RELEASES if _is_of_releases(Path(file)) else file

    return ByFixture(config, log)


def _is_of_releases(file: Path) -> bool:
    return file.parent.name == "integration" and file.name.startswith(_RELEASES)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Run a test marked ``alone`` while the other processes wait. First: waiting takes no time.

    Any other test has its process's share of the CPUs, and so has all that it starts: trainings
    side by side that each use all of them wait for each other at every step.
    """
    folder = shared_folder(item.config)
    if folder is None:
        return (yield)
    turns = ReadWriteLock(folder / "turns.sqlite")
    if item.get_closest_marker("alone"):
        with turns.write_lock():
            return (yield)
    with turns.read_lock(), cpus_of_this_process(item.config):
        return (yield)


@contextmanager
def cpus_of_this_process(config: pytest.Config) -> Iterator[None]:
    """Keep to this process's share of the CPUs. Processes beyond their number have one CPU each,
    with every test another one."""
    worker = vars(config)["workerinput"]
    cpus = sorted(os.sched_getaffinity(0))
    first = int(worker["workerid"].removeprefix("gw"))
    if first >= len(cpus):
        first = next(_TURNS) % len(cpus)
    try:
        os.sched_setaffinity(0, cpus[first :: worker["workercount"]])
        yield
    finally:
        os.sched_setaffinity(0, cpus)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one line what was skipped, and why; and what was attacked, with which seed."""
    skipped = terminalreporter.stats.get("skipped", [])
    whys = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in skipped)
    if whys:
        groups = [
            f"{count} {why if count > 1 else why.replace(' tests: ', ' test: ', 1)}"
            for why, count in whys.most_common()
        ]
        terminalreporter.write_line(f"skipped: {'; '.join(groups)}")
    for ended in ("passed", "failed"):
        for report in terminalreporter.stats.get(ended, []):
            told = [text for name, text in report.user_properties if name == "attack"]
            if told:
                terminalreporter.write_line(f"attacked: {told[-1]}")


def shared_folder(config: pytest.Config) -> Path | None:
    """Return the folder of all processes of this run, or ``None`` where there is only this one."""
    return Path(config.option.basetemp).parent if hasattr(config, "workerinput") else None
