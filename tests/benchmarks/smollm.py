"""What a real, pretrained model gives: ``nox -s bench-smollm``.

Builds ``configs/smollm2.toml`` for the CPU and writes its section of ``docs/measured.md``.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from targets.figures import percent
from targets.report.report_schema import Report
from tests.benchmarks import pages
from tests.benchmarks.example import CACHE, built, fresh, rows
from tests.benchmarks.pages import Row, Section
from tests.support.smollm import CONFIG, fetch_model

_TARGET = "cpu"
_HOW = """\
The whole build of `configs/smollm2.toml`, whose weights are those of SmolLM2-135M-Instruct, from an
empty result cache, toolchain and model being there. Peak memory is the largest resident set of a
step."""


def main() -> None:
    """Build, and write the section."""
    arguments = parser().parse_args()
    pages.require_clean(arguments.out)
    origin = pages.origin("./nox -s bench-smollm" + (" -- --cached" if arguments.cached else ""))
    fetch_model()
    with tempfile.TemporaryDirectory() as scratch:
        cache = arguments.cache.absolute()
        with (
            nullcontext(cache)
            if arguments.cached
            else fresh(cache, Path(scratch), [_TARGET]) as used
        ):
            reports = built([_TARGET], used, Path(scratch) / "dist", CONFIG)
        section = Section("smollm", "A real model", _rows(reports[_TARGET]), _HOW)
        pages.measure(section, arguments.out, origin)


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    parser = argparse.ArgumentParser(prog="nox -s bench-smollm --", description=__doc__)
    parser.add_argument("--cached", action="store_true", help="take cached results: a quick look")
    parser.add_argument("--cache", type=Path, default=CACHE, help="as of the other commands")
    pages.add_out(parser, pages.MEASURED)
    return parser


def _rows(report: Report) -> Iterator[Row]:
    quality: Mapping[str, Any] = report.quality or {}
    yield Row("accuracy of the int4 artifact", percent(quality.get("artifact")))
    yield Row("held-out prompts", str(quality.get("samples")))
    yield from rows([report])


if __name__ == "__main__":
    main()
