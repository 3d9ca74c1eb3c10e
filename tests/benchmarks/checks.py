"""Whether the checks always come to the same verdict: ``nox -s bench-checks``.

Builds a config once and then measures the checks of that artifact again and again, training and
building nothing. Writes the section of ``docs/measured.md`` that says, per verdict, how often it
passed, and the least, middle and greatest figure. Ends with 1 if any of them did not pass.

With ``--families`` it is about other builds: :mod:`tests.benchmarks.families`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
from platformdirs import user_cache_path

from pipeline.contract.plan import object_path
from targets.cli.options import DEFAULT_CONFIG
from tests.benchmarks import families, pages
from tests.benchmarks.pages import Section
from tests.families.table import NAMED

_CACHE = Path(os.environ.get("QUERN_CACHE") or user_cache_path("quern"))
_COLUMNS = ("verdict", "passed", "min", "median", "max", "limit", "unit")
_HOW = """\
The checks of one artifact of `{config}`, measured again and again, nothing being built
between. {passed} of {runs} builds passed. {still} verdicts had the same figure each time and are
not in the table."""
_FAILED_CHECK = 3  # as targets/errors.py has it


def main() -> int:
    """Measure, write the section, and return the exit code."""
    arguments = parser().parse_args()
    if arguments.families:
        return families.measure(arguments)
    pages.require_clean(arguments.out)
    options = f"--config {arguments.config} " if arguments.config != DEFAULT_CONFIG else ""
    origin = pages.origin(
        f"./nox -s bench-checks -- {options}--target {arguments.target} --runs {arguments.runs}"
    )
    with tempfile.TemporaryDirectory() as scratch:
        cache = arguments.cache.absolute()
        reports = [build(cache, Path(scratch), arguments)]
        while len(reports) < arguments.runs:
            forget_checks(cache, reports[-1])
            reports.append(build(cache, Path(scratch), arguments))
            load = psutil.getloadavg()[0]
            pages.say(f"{len(reports)}: {reports[-1]['status']}, load {load:.1f}")
    passed = sum(report["status"] == "passed" for report in reports)
    moving, still = by_movement(reports)
    how = _HOW.format(config=arguments.config.name, passed=passed, runs=len(reports), still=still)
    section = Section("checks", "The checks of one build", map(row, moving), how, _COLUMNS)
    pages.measure(section, arguments.out, origin)
    return 0 if passed == len(reports) else 1


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    parser = argparse.ArgumentParser(prog="nox -s bench-checks --", description=__doc__)
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG)
    parser.add_argument("--target", default="cpu")
    parser.add_argument("--runtime", default="auto")
    parser.add_argument("--cache", type=Path, default=_CACHE, help="as of the other commands")
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument(
        "--families",
        type=families.asked,
        help="instead of a config, healthy builds of small models: "
        f"{families.ALL}, {families.REST} (those without a line on the page), or names with "
        f"commas between: {','.join(NAMED)}",
    )
    pages.add_out(parser, pages.MEASURED)
    return parser


def build(cache: Path, scratch: Path, arguments: argparse.Namespace) -> Mapping[str, Any]:
    """Return the report of one build."""
    command = [sys.executable, "-m", "targets", "build", "--json", "--config", arguments.config]
    command += ["--target", arguments.target, "--runtime", arguments.runtime]
    command += ["--cache", cache, "--dist", scratch / "dist"]
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, check=False)
    if done.returncode not in (0, _FAILED_CHECK):
        sys.exit(f"the build ended with {done.returncode}")
    (report,) = json.loads(done.stdout)["builds"]
    found: Mapping[str, Any] = report
    return found


def forget_checks(cache: Path, report: Mapping[str, Any]) -> None:
    """Remove the results of checks from the cache, so that the next build measures them anew."""
    checks = [step for step in report["passes"] if step["kind"] == "check"]
    for step in checks:
        shutil.rmtree(cache / "objects" / object_path(step["key"]), ignore_errors=True)


def by_movement(reports: Sequence[Mapping[str, Any]]) -> tuple[list[list[Any]], int]:
    """Return the verdicts, each of all runs, that did not come out alike; and how many did."""
    found: dict[str, list[Any]] = defaultdict(list)
    for report in reports:
        for verdict in report["checks"]:
            found[verdict["name"]].append(verdict)
    moving = [
        verdicts
        for verdicts in found.values()
        if len({(verdict["status"], verdict["value"]) for verdict in verdicts}) > 1
    ]
    return moving, len(found) - len(moving)


def row(verdicts: Sequence[Mapping[str, Any]]) -> str:
    """Return the line of one verdict, of all runs."""
    passed = sum(verdict["status"] == "passed" for verdict in verdicts)
    values = [verdict["value"] for verdict in verdicts if verdict["value"] is not None]
    figures = (min(values), statistics.median(values), max(values)) if values else ()
    shown = " | ".join(f"{value:.4g}" for value in figures) or " |  | "
    name, relation, limit, unit = (
        verdicts[0][key] for key in ("name", "relation", "limit", "unit")
    )
    at = "" if limit is None else f"{relation} {limit:.4g}"
    return f"| `{name}` | {passed} of {len(verdicts)} | {shown} | {at} | {unit} |"


if __name__ == "__main__":
    sys.exit(main())
