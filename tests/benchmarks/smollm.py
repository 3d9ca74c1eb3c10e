"""What a real, pretrained model gives: ``nox -s bench-smollm``.

Builds ``configs/smollm2.toml`` for the CPU and writes its section of ``docs/measured.md``; then
builds the same fine-tune in several ways, asks each artifact the same prompts, and writes another.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from targets.figures import duration, percent, size
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
_HOW_WAYS = """\
The fine-tuned model of the section above, built with these lines below `[passes.model_builder]`,
and asked the same prompts. Lost: points of accuracy against the unquantized export. The time is
that of the pass."""
_COLUMNS = ("way", "accuracy", "lost", "size", "time")
_TABLE = '[passes.model_builder]\nprecision = "int4"\n'
WAYS = {
    "k_quant": "",
    "default": 'algorithm = "default"',
    "asymmetric": 'algorithm = "default", symmetric = false',
    "block-128": "block_size = 128",
    "last": 'algorithm = "k_quant_last"',
    "mixed": 'algorithm = "k_quant_mixed"',
    "int8": 'precision = "int8"',
}
"""Lines of the table of ``model_builder``, by a name for the command line."""
_FAILED_CHECKS = 3


def main() -> None:
    """Build, and write the sections."""
    arguments = parser().parse_args()
    pages.require_clean(arguments.out)
    command = "./nox -s bench-smollm" + (" -- --cached" if arguments.cached else "")
    load = f"a load of {os.getloadavg()[0]:.1f} on the machine when it began"
    origin = pages.origin(command, load)
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
            found = _ways(arguments.ways.split(","), used, Path(scratch))
            title = "Ways to quantize a real model"
            section = Section("smollm-ways", title, found, _HOW_WAYS, _COLUMNS)
            pages.measure(section, arguments.out, origin)


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    parser = argparse.ArgumentParser(prog="nox -s bench-smollm --", description=__doc__)
    parser.add_argument("--cached", action="store_true", help="take cached results: a quick look")
    parser.add_argument("--cache", type=Path, default=CACHE, help="as of the other commands")
    parser.add_argument(
        "--ways", default=",".join(WAYS), help=f"with commas between: {','.join(WAYS)}"
    )
    pages.add_out(parser, pages.MEASURED)
    return parser


def _rows(report: Report) -> Iterator[Row]:
    quality: Mapping[str, Any] = report.quality or {}
    yield Row("accuracy of the int4 artifact", percent(quality.get("artifact")))
    yield Row("held-out prompts", str(quality.get("samples")))
    yield Row("all steps", duration(sum(step.seconds for step in report.passes)))
    yield from rows([report], elsewhere=("problems",))


def _ways(names: Sequence[str], cache: Path, scratch: Path) -> Iterator[str]:
    """Yield a row for each way in which the model was built."""
    plain = CONFIG.read_text("utf-8")
    for name in names:
        report = _built_one_way(plain, WAYS[name], cache, scratch / name)
        quality: Mapping[str, Any] = report.quality or {}
        lost = next(one.value for one in report.checks if one.name == "accuracy_loss")
        step = next(one for one in report.passes if one.name == "model_builder")
        yield (
            f"| {_shown(WAYS[name])} "
            f"| {percent(quality.get('artifact'))} | {100 * (lost or 0):.1f} "
            f"| {size(report.size_bytes)} | {duration(step.seconds)} |"
        )


def _shown(way: str) -> str:
    """Return the lines of ``way`` as a page has them."""
    return ", ".join(f"`{line}`" for line in way.split(", ") if line) or "as shipped"


def _built_one_way(plain: str, way: str, cache: Path, folder: Path) -> Report:
    """Build with ``way`` in the table of ``model_builder``; failed checks are figures too."""
    lines = "\n".join(way.split(", "))
    kept = _TABLE if "precision" not in way else "[passes.model_builder]\n"
    folder.mkdir()
    config = folder / CONFIG.name
    for beside in ("models", "tone.jsonl"):
        (folder / beside).symlink_to(CONFIG.parent / beside)
    # Only accuracy is asked for; top-level keys stand before all tables.
    skipped = "conversion generation graph latency memory merging provider quantization size"
    config.write_text(
        plain.replace(_TABLE, f"{kept}{lines}\n")
        .replace("seed = 0\n", f"seed = 0\nskip_checks = {skipped.split()}\n".replace("'", '"'), 1)
        .replace("[checks.latency]\nlengths = [128]\n", ""),
        "utf-8",
    )
    options = ["--config", config, "--cache", cache, "--dist", folder / "dist"]
    command = [sys.executable, "-m", "targets", "build", "--target", _TARGET, *map(str, options)]
    done = subprocess.run(command, check=False)
    if done.returncode not in (0, _FAILED_CHECKS):
        sys.exit(done.returncode)
    path = folder / "dist" / CONFIG.stem / _TARGET / "report.json"
    return Report.model_validate_json(path.read_bytes())


if __name__ == "__main__":
    main()
