"""What many rows cost: ``nox -s bench-data``.

Writes the section of ``docs/measured.md`` with a plan of a config whose data set has ever more rows
of sixty words, the first time and again, and with what a toolchain makes of them for a training.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from pipeline.contract.plan import SourceInput
from pipeline.data.findings import Look
from pipeline.data.trained_view import KEPT, TrainedView
from pipeline.process.cpus import usable_cpus
from pipeline.training.params import TOKENS
from targets.cli.options import PROJECT
from targets.target import load_target
from targets.toolchain.platforms import this_machine
from targets.toolchain.venv import ensure_venv, venv_python
from tests.benchmarks import pages
from tests.benchmarks.example import CACHE
from tests.benchmarks.pages import Row, Section
from tests.support import plans
from tests.support.project import TONES, make_project

_WORKER = Path(__file__).with_name("tokenized_rows.py")
_WORDS = 60
_VOCABULARY = 20_000
_MOST = 1_000_000
_STEPS = 50
_FIRST_S, _FIRST_MB, _AGAIN_S, _A_MINUTE = 12, 300, 0.6, 150_000
_HOW = f"""\
A file of JSON Lines, each row a text of {_WORDS} words, of {_VOCABULARY:,} that there are, and one
of four labels. `plan` is the whole process, the first time with an empty cache and again with
nothing changed: wall time, and the largest resident set of a process. Then a process of the
toolchain reads the rows and makes tokens of training rows by a byte-level BPE of 16,000 tokens and
the chat template, as the step `tokens-lora` does. Last a `lora` of {_STEPS} steps of 8 rows trains
a model of two layers on a file of as many tokens as all its rows have; the peak is that of its
result, with PyTorch and transformers. The aims of `plan` are those for a million rows."""


@dataclass(frozen=True)
class Ran:
    """What a process took."""

    wall: float
    cpu: float
    peak_mb: float


def main() -> None:
    """Measure, show, and write the section."""
    arguments = parser().parse_args()
    pages.require_clean(arguments.out)
    asked = f"./nox -s bench-data -- --rows {' '.join(map(str, arguments.rows))}"
    origin = pages.origin(f"{asked} --tokenized {arguments.tokenized}", pages.beside())
    rows = measure(arguments.rows, arguments.tokenized, arguments.cache.absolute())
    pages.measure(Section("data", "Many rows", rows, _HOW), arguments.out, origin)


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    parser = argparse.ArgumentParser(prog="nox -s bench-data --", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, _MOST])
    described = "training rows that become tokens; 0: all"
    parser.add_argument("--tokenized", type=int, default=0, help=described)
    parser.add_argument("--cache", type=Path, default=CACHE, help="as of the other commands")
    pages.add_out(parser, pages.MEASURED)
    return parser


def measure(counts: Sequence[int], tokenized: int, cache: Path) -> Iterator[Row]:
    """Yield the figures for each number of rows."""
    toolchain = load_target("cpu").toolchain(this_machine())
    ensure_venv(toolchain, cache, pages.say)
    python = venv_python(toolchain, cache)
    for count in counts:
        with tempfile.TemporaryDirectory() as scratch:
            project = make_project(Path(scratch) / "project")
            write(project.data, count)
            planned = ("plan", "--config", str(project.config), "--cache", f"{scratch}/cache")
            yield from _plans(count, planned)
            made = Path(scratch) / "made"
            trained, tokens = _tokens(count, python, project.data, tokenized or count, made)
            yield from tokens
            yield _training(trained, python, made)


def write(file: Path, count: int) -> None:
    """Write a file of so many rows."""
    chance = random.Random(1)  # noqa: S311 - words, no secret
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(chance.choices(letters, k=chance.randint(2, 9))) for _ in range(_VOCABULARY)]
    with file.open("w") as rows:
        for _ in range(count):
            row = {
                "phrase": " ".join(chance.choices(words, k=_WORDS)),
                "tone": chance.choice(TONES),
            }
            rows.write(json.dumps(row) + "\n")


def _plans(count: int, command: Sequence[str]) -> Iterator[Row]:
    first, again = once(command), once(command)
    judged = count == _MOST
    yield Row(
        f"{count:,} rows, the first `plan`",
        f"{first.wall:.1f} s (CPU {first.cpu:.1f} s), {first.peak_mb:.0f} MB",
        f"≤ {_FIRST_S} s, {_FIRST_MB} MB" if judged else pages.NO_AIM,
        first.wall <= _FIRST_S and first.peak_mb <= _FIRST_MB if judged else None,
    )
    yield Row(
        f"{count:,} rows, `plan` again",
        f"{again.wall:.2f} s (CPU {again.cpu:.2f} s), {again.peak_mb:.0f} MB",
        f"≤ {_AGAIN_S} s" if judged else pages.NO_AIM,
        again.wall <= _AGAIN_S if judged else None,
    )


def _tokens(
    count: int, python: Path, file: Path, tokenized: int, out: Path
) -> tuple[int, tuple[Row, Row]]:
    """Return how many rows there are to train on, and what their tokens took."""
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "TOKENIZERS_PARALLELISM": "true"}
    ran = subprocess.run(
        [python, str(_WORKER), str(file), str(tokenized), str(out)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(ran.stdout.splitlines()[-1])
    a_minute = 60 * found["tokenized"] / found["seconds"]
    made = Row(
        f"{count:,} rows, {found['tokenized']:,} of them tokenized",
        f"{a_minute:,.0f} rows a minute, {found['tokens'] / found['tokenized']:.0f} tokens each",
        f"≥ {_A_MINUTE:,}",
        a_minute >= _A_MINUTE,
    )
    peak = Row(f"{count:,} rows, peak memory of that process", f"{found['peak_mb']:.0f} MB")
    return found["trained"], (made, peak)


def _training(count: int, python: Path, made: Path) -> Row:
    """Return the peak memory of a training on so many rows, whose tokens are made."""
    params = {"max_steps": _STEPS, "batch_size": 8, "eval_batch_size": 8, "logging_steps": _STEPS}
    inputs = {"model": plans.material_input("model"), TOKENS: _kept(count)}
    step = plans.step("lora", "pass", inputs, params, data=plans.TONES)
    # With something in its environment, the process is a new one.
    own = {"PYTHONPATH": str(PROJECT)}
    plans.must_run(python, made / "work", made, [step], threads=usable_cpus(), environment=own)
    peak = plans.result(made / "work", "lora").peak_rss_bytes / 1e6
    return Row(f"a training on {count:,} rows, its peak memory", f"{peak:.0f} MB")


def _kept(count: int) -> SourceInput:
    """Return the tokens as if a step had made them."""
    figures = {"used": count, "shortened": 0, "left_out": 0}
    look = Look(rows={}, labels={}, characters={}, findings=(), notes=())
    view = TrainedView(look=look, lengths={}, max_length=1024, context=None, samples=())
    metrics: dict[str, JsonValue] = {"training": {**figures}, "validation": {**figures}}
    metrics[KEPT] = view.model_dump(mode="json")
    return plans.material_input("tokens").model_copy(update={"metrics": metrics})


def once(command: Sequence[str]) -> Ran:
    """Return what one command took."""
    words = [sys.executable, "-m", "targets", *command]
    silent = (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)
    began = time.perf_counter()
    child = os.posix_spawn(sys.executable, words, os.environ, file_actions=[silent])
    _, status, used = os.wait4(child, 0)
    wall = time.perf_counter() - began
    if status:
        sys.exit(f"{' '.join(words)} ended with {os.waitstatus_to_exitcode(status)}")
    return Ran(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1000)


if __name__ == "__main__":
    main()
