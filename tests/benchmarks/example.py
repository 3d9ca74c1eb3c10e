"""What the shipped example gives: ``nox -s bench-example``.

Builds ``configs/tone.toml`` and writes the section of ``docs/measured.md`` with accuracy, size,
latency, and what each step took; and the picture of its summary, ``docs/summary.svg``.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from html import escape
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path
from rich.console import Console

from targets.cli.options import DEFAULT_CONFIG
from targets.console.print_summary import print_summary
from targets.figures import duration, percent, size, verdict_limit, verdict_value
from targets.report.report_schema import Report
from targets.target import target_names
from tests.benchmarks import pages
from tests.benchmarks.driver import without_results
from tests.benchmarks.pages import Row, Section

CACHE = Path(os.environ.get("QUERN_CACHE") or user_cache_path("quern"))
_COLUMNS = 100
"""Width of the picture."""
_ELSEWHERE = ("problems", "ms", "bytes")
"""Units of what is no figure, and of what differs from run to run: `bench-checks` shows that."""
_MODELS = {"base": "base", "fine-tuned": "tuned"}
_HOW = """\
The whole build of `configs/tone.toml` from an empty result cache, toolchains being there. Targets
whose device is not on this machine are asked through the CPU provider. Latency is measured by
`bench-checks`. Peak memory is the largest resident set of a step."""


def main() -> None:
    """Build, and write section and picture."""
    arguments = parser().parse_args()
    pages.require_clean(arguments.out)
    targets = arguments.targets.split(",")
    chosen = {"--cached": arguments.cached, "--picture": arguments.picture}
    options = " ".join([f"--targets {arguments.targets}", *(one for one in chosen if chosen[one])])
    origin = pages.origin(f"./nox -s bench-example -- {options}")
    cached = arguments.cached or arguments.picture
    with tempfile.TemporaryDirectory() as scratch:
        cache = arguments.cache.absolute()
        with nullcontext(cache) if cached else fresh(cache, Path(scratch), targets) as use:
            began = time.monotonic()
            reports = built(targets, use, Path(scratch) / "dist")
            took = time.monotonic() - began
        if not arguments.picture:
            section = Section("example", "The shipped example", rows(reports.values()), _HOW)
            pages.measure(section, arguments.out, origin)
    first = reports[targets[0]]
    seconds = took if arguments.picture else sum(step.seconds for step in first.passes)
    draw(first, arguments.out.with_name(pages.PICTURE.name), origin, seconds)


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    parser = argparse.ArgumentParser(prog="nox -s bench-example --", description=__doc__)
    parser.add_argument(
        "--targets", default="cpu", help=f"with commas between: {','.join(target_names())}"
    )
    parser.add_argument("--cached", action="store_true", help="take cached results: a quick look")
    parser.add_argument(
        "--picture",
        action="store_true",
        help="only draw, of cached results: its form changed",
    )
    parser.add_argument("--cache", type=Path, default=CACHE, help="as of the other commands")
    pages.add_out(parser, pages.MEASURED)
    return parser


@contextmanager
def fresh(cache: Path, scratch: Path, targets: Sequence[str]) -> Iterator[Path]:
    """Yield a cache without results, with the toolchains of ``targets``."""
    for target in targets:
        run("images", "--target", target, "--cache", cache)
    with without_results(cache, scratch) as found:
        yield found


def built(
    targets: Sequence[str], cache: Path, dist: Path, config: Path = DEFAULT_CONFIG
) -> Mapping[str, Report]:
    """Build ``config``; return the report of each target."""
    found = {}
    for target in targets:
        options = ("--config", config, "--cache", cache, "--dist", dist)
        run("build", "--target", target, *options)
        path = dist / config.stem / target / "report.json"
        found[target] = Report.model_validate_json(path.read_bytes())
    return found


def run(*arguments: str | Path) -> None:
    """Run a command of Quern's. Ends with its exit code where it fails."""
    done = subprocess.run([sys.executable, "-m", "targets", *map(str, arguments)], check=False)
    if done.returncode:
        sys.exit(done.returncode)


def rows(reports: Iterable[Report], elsewhere: Collection[str] = _ELSEWHERE) -> Iterator[Row]:
    """Yield what there is to say of each target's build; of what they share, once.

    Verdicts in the units ``elsewhere`` are left to other sections.
    """
    shared: set[str] = set()
    for report in reports:
        quality: Mapping[str, Any] = report.quality or {}
        of = f"{report.target}: "
        if not shared:
            for words, name in _MODELS.items():
                yield Row(f"accuracy of the {words} model", percent(quality.get(name)))
        for verdict in report.checks:
            if verdict.unit not in elsewhere:
                met = None if verdict.status == "unverified" else verdict.status == "passed"
                limit = verdict_limit(verdict)
                yield Row(f"{of}`{verdict.name}`", verdict_value(verdict), limit, met)
        yield Row(f"{of}size of the artifact", size(report.size_bytes))
        for step in report.passes:
            if step.key not in shared:
                took = f"{duration(step.seconds)}, {size(step.peak_rss_bytes)}"
                yield Row(f"{of}step `{step.name}`: time, peak memory", took)
        shared |= {step.key for step in report.passes}


def draw(report: Report, path: Path, origin: str, seconds: float) -> None:
    """Write the picture of a build's summary; it took ``seconds``, and ``origin`` describes it."""
    console = Console(record=True, width=_COLUMNS, file=io.StringIO(), force_terminal=True)
    folder = Path("dist") / report.build / report.target
    print_summary(console, report, folder, seconds)
    picture = console.export_svg(title=f"./nox -s build-{report.target}", unique_id="summary")
    # A comment may not hold the two hyphens of a command.
    described = f"<desc>{escape(origin)}</desc>\n    <!-- Generated"
    path.write_text(picture.replace("<!-- Generated", described, 1), "utf-8")


if __name__ == "__main__":
    main()
