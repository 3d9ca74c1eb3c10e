"""Whether healthy builds of every family pass: ``nox -s bench-checks -- --families all``.

Builds the small models of ``tests/families`` again and again with all checks, each time with
another training, and every few times with other weights. Writes the section of
``docs/measured.md`` that says, per family, how many builds passed, and the worst figures of
quantization. A line is written as soon as its family is done, and lines of others are kept:
``--families rest`` goes on after a stop.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from pipeline.contract.result import Verdict
from targets.atomic import remove_tree
from targets.cache import Cache
from targets.figures import percent
from targets.report.report_schema import Report
from tests.benchmarks import pages
from tests.benchmarks.driver import without_results
from tests.benchmarks.pages import Section
from tests.families.builds import build_family, place
from tests.families.table import FAMILIES, NAMED, Family
from tests.support.warm_runtime import WarmRuntime

ALL, REST = "all", "rest"
TRAININGS = 4
"""Builds that share a base."""
_PART = "families"
_TARGET = "cpu"
_WORST = {
    "mean_kl": max,
    "p99_kl": max,
    "top1_agreement": min,
    "run_share": max,
    "long_mean_kl": max,
    "long_run_share": max,
}
"""Verdicts whose worst figure is shown, and which of two is the worse."""
_SINCE = "run_share"
"""A verdict of every build: a line without it is of other checks."""
_COLUMNS = (
    *("family", "passed", *(f"`{name}`" for name in _WORST), "scale off"),
    *("matrix off", "unverified", "CPU time", "commit"),
)
_HOW = f"""\
Builds of the small models of [the families](models.md) for the CPU, each a whole one with all
checks but those of time and memory. No two have the same weights: {TRAININGS} share a base, trained
from random weights of its own, and each is fine-tuned with a seed and a split of its own. A build
passes unless a check fails. Figures are the worst of all builds of a family; "off" is by how much
the scale of a matrix differs from the checkpoint's, and the matrix itself. Families that the plan
refuses are not here."""


@dataclass(frozen=True)
class Runs:
    """What the builds of one family gave."""

    family: Family
    reports: Sequence[Report]
    seconds: float
    """CPU time of all of them."""

    @property
    def passed(self) -> int:
        """Return in how many no check failed."""
        return sum(report.status != "failed" for report in self.reports)

    @property
    def same(self) -> int:
        """Return how many artifacts are the same as another one: none, or nothing was tried."""
        artifacts = {report.files for report in self.reports}
        return len(self.reports) - len(artifacts)

    def row(self, commit: str) -> str:
        """Return the family's line of the table."""
        layers = [layer for report in self.reports for layer in _layers(report)]
        scale = max(abs(layer["scale"] - 1) for layer in layers)
        error = max(layer["error"] for layer in layers)
        found = [verdict for report in self.reports for verdict in report.checks]
        unverified = dict.fromkeys(one.name for one in found if one.status == "unverified")
        cells = (
            *(self.family.title, f"{self.passed} of {len(self.reports)}"),
            *(_worst(found, name) for name in _WORST),
            *(percent(scale), percent(error)),
            *(", ".join(f"`{name}`" for name in unverified), f"{self.seconds:.0f} s", commit),
        )
        return f"| {' | '.join(cells)} |"


def _layers(report: Report) -> list[dict[str, Any]]:
    quantization: Any = report.figures["quantization"]
    return list(quantization["layers"].values())


def _worst(verdicts: Sequence[Verdict], name: str) -> str:
    values = [one.value for one in verdicts if one.name == name and one.value is not None]
    return f"{_WORST[name](values):.4g}" if values else pages.NO_AIM


def measure(arguments: argparse.Namespace) -> int:
    """Measure the families that are asked for, write the section, and return the exit code."""
    pages.require_clean(arguments.out)
    runs = arguments.runs
    command = f"./nox -s bench-checks -- --families {arguments.families} --runs {runs}"
    origin = pages.origin(command)
    before = measured(arguments.out)
    asked = chosen(arguments.families, before)
    kept = {title: line for title, line in before.items() if title not in asked}
    failures: list[str] = []

    def rows() -> Iterator[str]:
        yield from kept.values()
        for found in built(list(asked.values()), runs, arguments.cache.absolute()):
            failures.extend(faults(found))
            yield found.row(pages.commit())

    section = Section(_PART, "Healthy builds of every family", rows(), _HOW, _COLUMNS)
    pages.measure(section, arguments.out, origin)
    sys.stderr.write("".join(f"{failure}\n" for failure in failures))
    return 1 if failures else 0


def measured(page: Path) -> dict[str, str]:
    """Return the lines of a page by family, but those of before there was :data:`_SINCE`."""
    cells = [(line, line.strip("|").split("|")) for line in pages.rows_of(page, _PART)]
    at = _COLUMNS.index(f"`{_SINCE}`")
    return {
        of[0].strip(): line
        for line, of in cells
        if len(of) == len(_COLUMNS) and of[at].strip() != pages.NO_AIM
    }


def asked(names: str) -> str:
    """Return ``names`` as :func:`chosen` takes them.

    Raises ``ArgumentTypeError`` where there is no such family, or the plan refuses it.
    """
    named = [] if names in (ALL, REST) else names.split(",")
    if unknown := [name for name in named if name not in NAMED]:
        raise argparse.ArgumentTypeError(
            f"no family is called {', '.join(map(repr, unknown))}; "
            f"there are {', '.join(NAMED)}, {ALL} and {REST}"
        )
    results = {name: NAMED[name].result(_TARGET) for name in named}
    if refused := [f"{name}: {one.why}" for name, one in results.items() if one.word == "refused"]:
        raise argparse.ArgumentTypeError(f"the plan refuses {'; '.join(refused)}")
    return names


def chosen(names: str, known: Collection[str]) -> dict[str, Family]:
    """Return the families that are asked for by their titles; ``known`` are on the page already."""
    buildable = {one.title: one for one in FAMILIES if one.result(_TARGET).word != "refused"}
    if names == ALL:
        return buildable
    if names == REST:
        return {title: family for title, family in buildable.items() if title not in known}
    return {NAMED[name].title: NAMED[name] for name in names.split(",")}


def faults(found: Runs) -> Iterator[str]:
    """Yield what failed in which build, and whether some of them were one."""
    if found.same:
        yield f"{found.family.title}: {found.same} artifacts are the same as another one"
    for seed, report in enumerate(found.reports):
        for verdict in report.checks:
            if verdict.status == "failed":
                what = f"{verdict.name} {verdict.value} {verdict.detail}"
                yield f"{found.family.title}, build {seed}: {what}"


def built(families: Sequence[Family], runs: int, cache: Path) -> Iterator[Runs]:
    """Build each family so many times, and yield what it gave."""
    with ExitStack() as ended:
        scratch = Path(ended.enter_context(tempfile.TemporaryDirectory()))
        fresh = ended.enter_context(without_results(cache, scratch))
        # Nobody changes our code meanwhile, and importing it takes as long as a build.
        runtime = ended.enter_context(WarmRuntime(fresh, ("pipeline",)))
        runtime.prepare(place(_TARGET).toolchain, pages.say)
        for family in families:
            before = _cpu_seconds()
            reports = list(_reports(family, runs, fresh, scratch, runtime))
            yield Runs(family, reports, _cpu_seconds() - before)


def _reports(
    family: Family, runs: int, cache: Path, scratch: Path, runtime: WarmRuntime
) -> Iterator[Report]:
    """Yield the reports of a family's builds, which leave nothing behind."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        bases = -(-runs // TRAININGS)
        asked = (folder, family.name, "--seeds", str(bases))
        runtime.output_of(place(_TARGET).toolchain, "tests.families.make", *asked)
        for seed in range(runs):
            base = Path(folder) / str(seed // TRAININGS)
            yield build_family(family, _TARGET, base, cache, runtime, seed, timed=False).report
        remove_tree(Cache(cache).objects)


def _cpu_seconds() -> float:
    """Return the CPU time of this process and of all that it started."""
    here = psutil.Process()
    times = [here.cpu_times(), *(child.cpu_times() for child in here.children(recursive=True))]
    return sum(one.user + one.system + one.children_user + one.children_system for one in times)
