"""What a real, pretrained model gives: ``nox -s bench-smollm``.

Builds ``configs/smollm2.toml`` for the CPU and writes its section of ``docs/measured.md``; then
builds the same fine-tune in several ways, asks each artifact the same prompts, and writes another.
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from statistics import stdev
from typing import Any, NamedTuple

from pydantic import TypeAdapter

from pipeline.evaluation.scores import Answer
from pipeline.run.registry import check_types, load_check
from pipeline.statistics.paired import compare_paired
from targets.cache import Cache
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
The fine-tuned model of the section above, built with these lines below `[passes.model_builder]`, or
after `mixed_precision`, `awq` and `gptq` with these, and asked the same prompts. Lost: points of
accuracy against the unquantized export. Perplexity is that of the expected answers. Won: points of
accuracy, and less: percent of perplexity, against the builder's `default`, with the 95 % intervals
of the paired comparisons. Time and memory are those of the passes that quantize."""
_COLUMNS = ("way", "accuracy", "lost", "won", "perplexity", "less", "size", "time", "memory")
_BEFORE = ("mixed_precision", "awq", "gptq")
"""Passes that may stand before the builder, in their order."""
_TABLE = '[passes.model_builder]\nprecision = "int4"\n'
_DEFAULT = "default"


class Way(NamedTuple):
    """A way to build: lines of tables, with commas between."""

    builder: str = ""
    """Of ``model_builder``."""
    gptq: str | None = None
    """Of a ``gptq`` before it; ``None`` for none."""
    awq: str | None = None
    """Of an ``awq`` before these."""
    mixed_precision: str | None = None
    """Of a ``mixed_precision`` before all."""


_PLAIN, _SYMMETRIC, _SHARE = 'algorithm = "default"', "symmetric = true", "int8_share = 0.15"
WAYS = {
    "k_quant": Way(),
    _DEFAULT: Way(_PLAIN),
    "gptq": Way(gptq=""),
    "gptq-symmetric": Way(_PLAIN, gptq=_SYMMETRIC),
    "awq": Way(awq=""),
    "awq-symmetric": Way(_PLAIN, awq=_SYMMETRIC),
    "awq-gptq": Way(gptq="", awq=""),
    "awq-gptq-symmetric": Way(_PLAIN, gptq=_SYMMETRIC, awq=_SYMMETRIC),
    "mixed-precision": Way(mixed_precision=_SHARE),
    "mixed-precision-gptq": Way(gptq="", mixed_precision=_SHARE),
    "asymmetric": Way('algorithm = "default", symmetric = false'),
    "block-128": Way("block_size = 128"),
    "last": Way('algorithm = "k_quant_last"'),
    "mixed": Way('algorithm = "k_quant_mixed"'),
    "int8": Way('precision = "int8"'),
}
"""By a name for the command line."""
_FAILED_CHECKS = 3
_LIMITS = "min_accuracy = 0.95\nmin_valid = 0.98\n"
_NO_LIMITS = (
    "min_accuracy = 0\nmin_valid = 0\nmax_accuracy_loss = 1\nmax_perplexity_increase = 100\n"
)
"""A check that fails is not cached, and its answers are asked for."""


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
    reports = {name: _built_one_way(plain, WAYS[name], cache, scratch / name) for name in names}
    asked = {name: _answers(report, cache) for name, report in reports.items()}
    for name, report in reports.items():
        quality: Mapping[str, Any] = report.quality or {}
        lost = next(one.value for one in report.checks if one.name == "accuracy_loss")
        steps = [one for one in report.passes if one.name in (*_BEFORE, "model_builder")]
        yield (
            f"| {_shown(WAYS[name])} "
            f"| {percent(quality.get('artifact'))} | {100 * (lost or 0):.1f} "
            f"| {_won(asked[name], asked.get(_DEFAULT))} | {_perplexity(asked[name]):.3f} "
            f"| {_less(asked[name], asked.get(_DEFAULT))} "
            f"| {size(report.size_bytes)} | {duration(sum(step.seconds for step in steps))} "
            f"| {size(max(step.peak_rss_bytes for step in steps))} |"
        )


def _answers(report: Report, cache: Path) -> list[Answer]:
    """Return the artifact's answers, as the step of the quality check keeps them."""
    key = next(step.key for step in report.passes if step.type == "quality")
    cached = Cache(cache).find(key)
    if cached is None:
        sys.exit(f"{report.build}: the quality check failed, so that its answers are not kept")
    return TypeAdapter(list[Answer]).validate_python(cached.result.evidence["answers"])


def _won(ours: Sequence[Answer], theirs: Sequence[Answer] | None) -> str:
    """Return how many more are right, in points, with the interval of the paired comparison."""
    if theirs is None or ours == theirs:
        return ""
    right = [[one.choice == one.label for one in answers] for answers in (ours, theirs)]
    found = compare_paired(*right)
    return f"{100 * found.difference:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f})"


def _less(ours: Sequence[Answer], theirs: Sequence[Answer] | None) -> str:
    """Return by how much perplexity is less, in percent, with the interval over answers of the
    paired comparison (of a ratio of sums, by the normal distribution)."""
    if theirs is None or ours == theirs:
        return ""
    tokens = sum(answer.tokens for answer in ours)
    gained = [one.logprob - other.logprob for one, other in zip(ours, theirs, strict=True)]
    middle, wide = sum(gained) / tokens, 1.96 * len(gained) ** 0.5 * stdev(gained) / tokens
    low, mean, high = (100 * -math.expm1(-one) for one in (middle - wide, middle, middle + wide))
    return f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"


def _perplexity(answers: Sequence[Answer]) -> float:
    tokens = sum(answer.tokens for answer in answers)
    return math.exp(-sum(answer.logprob for answer in answers) / tokens)


def _shown(way: Way) -> str:
    """Return the lines of ``way`` as a page has them."""
    tables = []
    for name in _BEFORE:
        lines = getattr(way, name)
        if lines is not None:
            tables.append(f"`{name}`{f' with {_listed(lines)}' if lines else ''}")
    if way.builder:
        tables.append(_listed(way.builder))
    return "; ".join(tables) or "as shipped"


def _listed(lines: str) -> str:
    return ", ".join(f"`{line}`" for line in lines.split(", "))


def _built_one_way(plain: str, way: Way, cache: Path, folder: Path) -> Report:
    """Build in one ``way``; what it loses is a figure, and fails no check."""
    lines = "\n".join(way.builder.split(", "))
    kept = _TABLE if "precision" not in way.builder else "[passes.model_builder]\n"
    for name in reversed(_BEFORE):
        if getattr(way, name) is not None:
            before = "\n".join(getattr(way, name).split(", "))
            kept = f"[passes.{name}]\n{before}\n\n{kept}"
    folder.mkdir()
    config = folder / CONFIG.name
    for beside in ("models", "tone.jsonl"):
        (folder / beside).symlink_to(CONFIG.parent / beside)
    # Only accuracy is asked for; top-level keys stand before all tables.
    skipped = [name for name in check_types() if load_check(name).runs_by_default]
    skipped.remove("quality")
    config.write_text(
        plain.replace(_TABLE, f"{kept}{lines}\n")
        .replace("seed = 0\n", f"seed = 0\nskip_checks = {skipped}\n".replace("'", '"'), 1)
        .replace(_LIMITS, _NO_LIMITS)
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
