"""Whether the checks always come to the same verdict: ``nox -s bench_checks``.

Builds a config once and then measures the checks of that artifact again and again, training and
building nothing. Prints a Markdown table: per verdict, how often it passed, and the least, middle
and greatest figure. Ends with 1 if any of them did not pass.
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
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psutil
from platformdirs import user_cache_path

from pipeline.plan import object_path
from targets.cli.options import DEFAULT_CONFIG
from tests.benchmarks.driver import machine

_CACHE = Path(os.environ.get("QUERN_CACHE") or user_cache_path("quern"))
_FAILED_CHECK = 3  # as targets/errors.py has it


def main() -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG)
    parser.add_argument("--target", default="cpu")
    parser.add_argument("--runtime", default="auto")
    parser.add_argument("--cache", type=Path, default=_CACHE, help="as of the other commands")
    parser.add_argument("--runs", type=int, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        cache = arguments.cache.absolute()
        reports = [build(cache, Path(scratch), arguments)]
        while len(reports) < arguments.runs:
            forget_checks(cache, reports[-1])
            reports.append(build(cache, Path(scratch), arguments))
            say(f"{len(reports)}: {reports[-1]['status']}, load {psutil.getloadavg()[0]:.1f}")
    say(f"Measured {datetime.now(timezone.utc):%Y-%m-%d} on {machine()}.\n")
    return summarize(reports)


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


def summarize(reports: Sequence[Mapping[str, Any]]) -> int:
    """Print the table and return the exit code."""
    found: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for report in reports:
        for verdict in report["checks"]:
            found[verdict["name"]].append(verdict)
    say("| verdict | passed | min | median | max | limit |\n| --- | --- | --- | --- | --- | --- |")
    for name, verdicts in found.items():
        passed = sum(verdict["status"] == "passed" for verdict in verdicts)
        values = [verdict["value"] for verdict in verdicts if verdict["value"] is not None]
        figures = (min(values), statistics.median(values), max(values)) if values else ()
        shown = " | ".join(f"{value:.4g}" for value in figures) or " |  | "
        limit = verdicts[0]["limit"]
        at = "" if limit is None else f"{limit:.4g}"
        say(f"| {name} | {passed} of {len(verdicts)} | {shown} | {at} |")
    passed = sum(report["status"] == "passed" for report in reports)
    say(f"\n{passed} of {len(reports)} builds passed.")
    return 0 if passed == len(reports) else 1


def say(text: str) -> None:
    """Show a line."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
