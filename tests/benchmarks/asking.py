"""What asking a real model on a CPU takes: ``nox -s bench-asking``.

Asks SmolLM2-135M-Instruct the held-out prompts of ``configs/smollm2.toml``, in PyTorch as
``evaluate`` does and as an int4 artifact as ``quality`` does, and writes its section of
``docs/measured.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli

from pipeline.contract.plan import OUTPUT_DIR, object_path
from pipeline.run.registry import check_types
from targets.cli.options import PROJECT
from targets.figures import percent
from targets.machine import usable_cores
from targets.target import load_target
from targets.toolchain.platforms import this_machine
from targets.toolchain.venv import ensure_venv, venv_python
from tests.benchmarks import pages
from tests.benchmarks.example import CACHE, built
from tests.benchmarks.pages import Row, Section
from tests.support.smollm import CONFIG, fetch_model

_TARGET = "cpu"
_WORKER = Path(__file__).with_name("asked_model.py")
_PROMPTS = 431
_AIM = 90.0
"""Seconds for so many prompts on two cores, as issue and users have it."""
_CONFIG = """\
name = "asking"
model = {model}
skip_checks = {checks}
[passes.model_builder]
precision = "int4"
"""
_HOW = """\
The held-out prompts of `configs/smollm2.toml`, asked of the model before any training: it seldom
answers with a label, so that each prompt takes a greedy answer, and the log-probabilities of four
labels. Seconds of the CPU count all threads. "Full speed" is without the cap of instruction
sets that gives the same bytes on every CPU (`arithmetic = "native"` of
`[resources]`)."""


def main() -> None:
    """Ask, and write the section."""
    arguments = parser().parse_args()
    pages.require_clean(arguments.out)
    origin = pages.origin(f"./nox -s bench-asking -- --prompts {arguments.prompts}")
    with tempfile.TemporaryDirectory() as scratch:
        rows = _rows(arguments.cache.absolute(), Path(scratch), arguments.prompts)
        pages.measure(Section("asking", "Asking a model", rows, _HOW), arguments.out, origin)


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    parser = argparse.ArgumentParser(prog="nox -s bench-asking --", description=__doc__)
    parser.add_argument("--prompts", type=int, default=_PROMPTS)
    parser.add_argument("--cache", type=Path, default=CACHE, help="as of the other commands")
    pages.add_out(parser, pages.MEASURED)
    return parser


def _rows(cache: Path, scratch: Path, prompts: int) -> Iterator[Row]:
    config = scratch / "asking.toml"
    values = {"model": str(fetch_model()), "checks": list(check_types())}
    config.write_text(_CONFIG.format(**{name: json.dumps(it) for name, it in values.items()}))
    report = built([_TARGET], cache, scratch / "dist", config)[_TARGET]
    made = {
        step.name: cache / "objects" / object_path(step.key) / OUTPUT_DIR for step in report.passes
    }
    checkpoint, artifact = made["import_gguf"], made["model_builder"]
    toolchain = load_target(_TARGET).toolchain(this_machine())
    ensure_venv(toolchain, cache, pages.say)
    python = venv_python(toolchain, cache)
    for what, environment, more in (
        ("in PyTorch", toolchain.environment, ()),
        ("in PyTorch, full speed", {}, ()),
        ("int4 artifact", toolchain.environment, (str(artifact),)),
    ):
        found = _asked(python, environment, (str(checkpoint), _data(), str(prompts)), more)
        seconds = found["seconds"]
        aim = _AIM if prompts == _PROMPTS else None
        yield Row(
            f"{what}: {found['prompts']} prompts",
            f"{seconds:.0f} s",
            "–" if aim is None else f"<= {aim:.0f} s",
            None if aim is None else seconds <= aim,
        )
        yield Row(f"{what}: CPU", f"{found['cpu_seconds']:.0f} s")
        yield Row(f"{what}: accuracy", percent(found["accuracy"]))


def _data() -> str:
    """Return the data set of the config, as JSON."""
    (table,) = tomli.loads(CONFIG.read_text("utf-8"))["data"].values()
    return json.dumps({**table, "path": str(CONFIG.parent / table["path"])})


def _asked(
    python: Path, environment: Mapping[str, str], asked: Sequence[str], more: Sequence[str]
) -> Mapping[str, Any]:
    """Return what the worker found in a process with the variables of a toolchain."""
    variables = {
        **os.environ,
        "PYTHONPATH": str(PROJECT),
        "OMP_NUM_THREADS": str(usable_cores()),
        **environment,
    }
    command = [str(python), str(_WORKER), *asked, str(usable_cores()), *more]
    done = subprocess.run(command, env=variables, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    main()
