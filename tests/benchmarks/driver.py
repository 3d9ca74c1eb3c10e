"""What the driver and the container cost: ``nox -s bench-driver``.

Writes the section of ``docs/measured.md`` with these figures, each with the minimum, median and
maximum of its runs:

- an unchanged rebuild with everything cached (whole process of ``python -m targets build``);
- the shipped chain from an empty result cache, in a container and in a virtual environment, in
  turn, and the ratio pair by pair.

The first build from nothing is measured by ``nox -s bench-job``.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from targets.cli.options import DEFAULT_CONFIG
from tests.benchmarks import pages
from tests.benchmarks.pages import Section

_COLUMNS = ("what", "runs", "min", "median", "max")
_HOW = """\
Wall time of whole commands with `configs/tone.toml`, in seconds. The chain runs from an empty
result cache, wheels and image being there, in a container and in a virtual environment in turn."""
# Results and what is known about them; everything else in a cache folder is toolchain.
_RESULTS = {
    *("objects", "work", "history", "logs", "locks", "scratch", "digests.sqlite"),
    *("in-use", "pages", "rows", "runs", "unfinished"),
}


def main() -> None:
    """Measure, show, and write the section."""
    arguments = parser().parse_args()
    pages.require_clean(arguments.out)
    options = f"--runs {arguments.runs} --pairs {arguments.pairs}"
    origin = pages.origin(f"./nox -s bench-driver -- {options}")
    with tempfile.TemporaryDirectory() as scratch:
        cache = arguments.cache or Path(scratch) / "cache"
        rows = measure(cache.absolute(), Path(scratch), arguments)
        section = Section("driver", "The driver and the container", rows, _HOW, _COLUMNS)
        pages.measure(section, arguments.out, origin)


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    parser = argparse.ArgumentParser(prog="nox -s bench-driver --", description=__doc__)
    parser.add_argument("--cache", type=Path, help="prepared cache (default: a fresh one)")
    parser.add_argument("--runs", type=int, default=10, help="cached rebuilds")
    parser.add_argument("--pairs", type=int, default=1, help="chains per runtime")
    pages.add_out(parser, pages.MEASURED)
    return parser


def measure(cache: Path, scratch: Path, arguments: argparse.Namespace) -> Iterator[str]:
    """Yield one table row per figure."""
    timed_build(cache, scratch / "dist", "auto")
    again = [timed_build(cache, scratch / "dist", "auto") for _ in range(arguments.runs)]
    yield row("unchanged rebuild, all cached (s)", again)
    if arguments.pairs:
        yield from measure_chains(cache, scratch, arguments.pairs)


def measure_chains(cache: Path, scratch: Path, pairs: int) -> Iterator[str]:
    """Yield the rows of the chain in a container and in a virtual environment, in turn."""
    docker: list[float] = []
    venv: list[float] = []
    for runtime in ("docker", "venv"):
        timed_build(cache, scratch / "dist", runtime, "images")
    for _ in range(pairs):
        for runtime, times in (("docker", docker), ("venv", venv)):
            with without_results(cache, scratch) as fresh:
                times.append(timed_build(fresh, scratch / "dist", runtime))
    yield row("chain in a container (s)", docker)
    yield row("chain in a virtual environment (s)", venv)
    ratios = [inside / outside for inside, outside in zip(docker, venv, strict=True)]
    yield row("ratio container / virtual environment", ratios)


@contextmanager
def without_results(cache: Path, scratch: Path) -> Iterator[Path]:
    """Yield a cache with the toolchains of ``cache`` and no results."""
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        link_toolchains(cache, Path(name))
        yield Path(name)


def link_toolchains(cache: Path, fresh: Path) -> None:
    """Have the folder ``fresh`` be a cache with the toolchains of ``cache`` and no results."""
    fresh.mkdir(exist_ok=True)
    for entry in cache.iterdir():
        if entry.name not in _RESULTS:
            (fresh / entry.name).symlink_to(entry)


def timed_build(cache: Path, dist: Path, runtime: str, command: str = "build") -> float:
    """Return the wall seconds of one whole command."""
    arguments = [sys.executable, "-m", "targets", command, "--runtime", runtime]
    arguments += ["--cache", str(cache)]
    if command == "build":
        arguments += ["--dist", str(dist), "--config", str(DEFAULT_CONFIG)]
    began = time.perf_counter()
    subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def row(name: str, values: list[float]) -> str:
    """Return one line of the table."""
    figures = (min(values), statistics.median(values), max(values))
    return f"| {name} | {len(values)} | " + " | ".join(f"{value:.2f}" for value in figures) + " |"


if __name__ == "__main__":
    main()
