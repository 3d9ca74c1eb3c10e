"""What a training step costs that gives the same bytes everywhere: ``nox -s bench-training``.

Trains with kernels chosen by name and with those of PyTorch, in turns, and writes its section of
``docs/measured.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from targets.cli.options import PROJECT
from targets.machine import usable_cores
from targets.target import load_target
from targets.toolchain.platforms import this_machine
from targets.toolchain.venv import ensure_venv, venv_python
from tests.benchmarks import pages
from tests.benchmarks.example import CACHE
from tests.benchmarks.pages import Row, Section

_WORKER = Path(__file__).with_name("trained_steps.py")
_TARGET = "cpu"
_AIM = 1.2
"""How many times as long a step may take that gives the same bytes everywhere."""
_MODELS = {
    "the shipped example's size, 8 rows of 128 tokens": ("small", 8, 128),
    "135 million weights, 8 rows of 64 tokens": ("135M", 8, 64),
}
_HOW = """\
One training step of LoRA on all linear layers (r = 16, AdamW, random weights, in fp32), with
[kernels that are chosen by name](reproducible.md) and with PyTorch's own below the same cap of
instruction sets. Both take turns, {rounds} times each; medians."""


def main() -> None:
    """Train, and write the section."""
    arguments = parser().parse_args()
    pages.require_clean(arguments.out)
    origin = pages.origin(f"./nox -s bench-training -- --rounds {arguments.rounds}")
    rows = _rows(arguments.cache.absolute(), arguments.rounds)
    how = _HOW.format(rounds=arguments.rounds)
    pages.measure(Section("training", "A training step", rows, how), arguments.out, origin)


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    parser = argparse.ArgumentParser(prog="nox -s bench-training --", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--cache", type=Path, default=CACHE, help="as of the other commands")
    pages.add_out(parser, pages.MEASURED)
    return parser


def _rows(cache: Path, rounds: int) -> Iterator[Row]:
    toolchain = load_target(_TARGET).toolchain(this_machine())
    ensure_venv(toolchain, cache, pages.say)
    variables = {**os.environ, **toolchain.environment, "PYTHONPATH": str(PROJECT)}
    for title, (model, rows, tokens) in _MODELS.items():
        for threads in sorted({1, usable_cores()}):
            numbers = map(str, (rows, tokens, threads, rounds))
            command = [str(venv_python(toolchain, cache)), str(_WORKER), model, *numbers]
            done = subprocess.run(
                command,
                env={**variables, "OMP_NUM_THREADS": str(threads)},
                stdout=subprocess.PIPE,
                check=True,
            )
            seconds: dict[str, list[float]] = json.loads(done.stdout)
            named, own = median(seconds["named"]), median(seconds["own"])
            yield Row(
                f"{title}, threads: {threads}",
                f"{named:.3g} s in place of {own:.3g} s: {named / own:.2f} times",
                f"<= {_AIM:g} times",
                named / own <= _AIM,
            )


if __name__ == "__main__":
    main()
