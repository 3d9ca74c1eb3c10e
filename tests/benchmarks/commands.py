"""What commands cost that have nothing to do: ``nox -s bench-commands``.

Writes the section of ``docs/measured.md`` with the CPU time of whole processes, each with the
minimum, median and maximum of its runs, and the median of their wall time. What a build would leave
is put into the cache by a stand-in, so that no toolchain is needed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from targets.cache import Cache
from tests.benchmarks import pages
from tests.benchmarks.pages import Row, Section
from tests.support.planning import build
from tests.support.project import make_project
from tests.support.stand_builds import Stand, World

_COLUMNS = ("what", "figure", "aim", "met")
_HOW = """\
Seconds of CPU time, user and system together, of whole processes of `python -m targets`, with
bytecode: the median, in brackets the least and the most, and the median of the wall time. Other
work on the machine makes both longer. What a build would leave was put into the cache before, for
the twenty steps of a plan and the seven of a build."""


@dataclass(frozen=True)
class Command:
    """One command that has nothing to do."""

    name: str
    arguments: tuple[str, ...]
    aim: float
    """Most CPU seconds."""


def main() -> None:
    """Measure, show, and write the section."""
    arguments = parser().parse_args()
    pages.require_clean(arguments.out)
    origin = pages.origin(f"./nox -s bench-commands -- --runs {arguments.runs}", pages.beside())
    with tempfile.TemporaryDirectory() as scratch:
        rows = measure(commands(Path(scratch)), arguments.runs)
        section = Section("commands", "Commands that have nothing to do", rows, _HOW, _COLUMNS)
        pages.measure(section, arguments.out, origin)


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    parser = argparse.ArgumentParser(prog="nox -s bench-commands --", description=__doc__)
    parser.add_argument("--runs", type=int, default=10, help="of each command, in turn")
    pages.add_out(parser, pages.MEASURED)
    return parser


def commands(scratch: Path) -> tuple[Command, ...]:
    """Return the commands, when what they would make is in their caches."""
    project, cache = make_project(scratch / "project"), scratch / "planned"
    build(project, Cache(cache))
    planned = ("--config", str(project.config), "--cache", str(cache))
    world = World(scratch / "built")
    world.builder(Stand("venv")).build(world.dist)
    built = ("--config", str(world.project.config), "--cache", str(world.cache.root))
    return (
        Command("the version", ("--version",), 0.15),
        Command("help of all commands", ("--help",), 0.15),
        Command("`plan`, all steps finished", ("plan", *planned), 0.3),
        Command("`build`, all steps finished", ("build", *built, "--dist", str(world.dist)), 0.3),
    )


def measure(commands: tuple[Command, ...], runs: int) -> Iterator[Row]:
    """Yield one row per command; they run in turn, so that other work slows them all alike."""
    for command in commands:
        once(command)  # the first one writes bytecode and notes
    times: dict[str, list[tuple[float, float]]] = {command.name: [] for command in commands}
    for _ in range(runs):
        for command in commands:
            times[command.name].append(once(command))
    for command in commands:
        cpu, wall = zip(*times[command.name], strict=True)
        median = statistics.median(cpu)
        spread = f"({min(cpu):.2f} to {max(cpu):.2f})"
        figure = f"{median:.2f} {spread}, wall {statistics.median(wall):.2f}"
        yield Row(command.name, figure, f"≤ {command.aim:.2f}", median <= command.aim)


def once(command: Command) -> tuple[float, float]:
    """Return the seconds of CPU and wall time of one run."""
    words = [sys.executable, "-m", "targets", *command.arguments]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    silent = (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)
    began = time.perf_counter()
    child = os.posix_spawn(sys.executable, words, environment, file_actions=[silent])
    _, status, used = os.wait4(child, 0)
    wall = time.perf_counter() - began
    if status:
        sys.exit(f"{' '.join(words)} ended with {os.waitstatus_to_exitcode(status)}")
    return used.ru_utime + used.ru_stime, wall


if __name__ == "__main__":
    main()
