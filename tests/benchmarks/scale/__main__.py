"""What a model of full size costs: ``nox -s bench-scale``. Writes ``docs/scale.md``.

Each part measures one thing, Quern's own way beside the plain library call, on a checkpoint of
Phi-3-mini's size with random weights and on the shipped small model. At full size it takes half
an hour or more, and the plain calls need 22 GB of memory that nothing else uses.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from platformdirs import user_cache_path

from targets.cli.options import PROJECT
from targets.errors import QuernError
from targets.toolchain.requirements import read_lock
from tests.benchmarks.driver import machine
from tests.benchmarks.scale import builder, chain, merge, one_step, page, speed, training, whole
from tests.benchmarks.scale.page import Row, Section
from tests.benchmarks.scale.world import FULL_LAYERS, World

PARTS: Mapping[str, Callable[[World], Section]] = {
    "merge": merge.measure,
    "builder": builder.measure,
    "one-step": one_step.measure,
    "training": training.measure,
    "speed": speed.measure,
    "chain": chain.measure,
    "whole": whole.measure,
}
_LAYER_BYTES, _OTHER_BYTES = 226_500_000, 394_000_000
"""Weights of one layer, and of what is not in a layer, in bf16."""
_COPIES = 3
"""Of the weights, that a part and the checkpoint take together at most."""
VERSIONS = ("torch", "transformers", "peft", "onnxruntime", "onnxruntime-genai")
_CACHE = Path(os.environ.get("QUERN_CACHE") or user_cache_path("quern"))


def main() -> int:
    """Measure, write, and return the exit code."""
    arguments = parsed()
    chosen = arguments.only.split(",") if arguments.only else list(PARTS)
    unknown = [name for name in chosen if name not in PARTS]
    if unknown:
        sys.exit(f"--only knows {', '.join(PARTS)}, not {', '.join(unknown)}")
    with tempfile.TemporaryDirectory(dir=arguments.scratch, prefix="quern-scale-") as name:
        check_space(Path(name), arguments.layers, arguments.checkpoint is not None)
        world = World(
            scratch=Path(name),
            cache=arguments.cache.absolute(),
            given=arguments.checkpoint and arguments.checkpoint.absolute(),
            given_small=arguments.small and arguments.small.absolute(),
            layers=arguments.layers,
            plain=not arguments.no_plain,
            say=say,
        )
        for part in chosen:
            say(f"measuring {part}")
            try:
                measure(PARTS[part](world), arguments.out, origin(world))
            except QuernError as error:
                say(f"{part} cannot be measured: {error} {error.hint}")
                return error.exit_code
    return 0


def measure(section: Section, out: Path, origin: str) -> None:
    """Measure one part; each row is on the page as soon as it is found."""
    found: list[Row] = []
    for row in section.rows:
        say(str(row))
        found.append(row)
        page.write(out, replace(section, rows=found), origin)


def parsed() -> argparse.Namespace:
    """Return the arguments."""
    parser = argparse.ArgumentParser(prog="nox -s bench-scale --", description=__doc__)
    parser.add_argument("--only", help=f"parts, with commas between: {','.join(PARTS)}")
    parser.add_argument(
        "--layers", type=int, default=FULL_LAYERS, help="fewer: a quick look; 0: the small model"
    )
    parser.add_argument("--no-plain", action="store_true", help="no plain calls at full size")
    parser.add_argument("--checkpoint", type=Path, help="one of the wanted size, made before")
    parser.add_argument("--small", type=Path, help="the shipped base model, made before")
    parser.add_argument("--scratch", type=Path, help="folder for what is removed at the end")
    parser.add_argument("--cache", type=Path, default=_CACHE, help="as of the other commands")
    parser.add_argument("--out", type=Path, default=PROJECT / "docs" / "scale.md")
    return parser.parse_args()


def check_space(scratch: Path, layers: int, given: bool) -> None:
    """End early where the disk is too small."""
    copies = _COPIES - 1 if given else _COPIES
    needed = copies * (layers * _LAYER_BYTES + _OTHER_BYTES)
    free = shutil.disk_usage(scratch).free
    say(f"needs up to {needed / 1e9:.0f} GB in {scratch.parent}; {free / 1e9:.0f} GB are free")
    if free < needed:
        sys.exit("too little space: name another folder with --scratch, or use --layers")


def origin(world: World) -> str:
    """Return when, on what and with what code a section was measured."""
    described = ["git", "-C", str(PROJECT), "describe", "--always", "--dirty", "--exclude", "*"]
    commit = subprocess.run(described, capture_output=True, text=True, check=False).stdout.strip()
    today = f"{datetime.now(timezone.utc):%Y-%m-%d}"
    pins = {str(pin.name): str(pin) for pin in read_lock(world.toolchain().lock)}
    versions = ", ".join(pins[name] for name in VERSIONS)
    return f"Measured {today} on {machine()}, commit {commit}, with {versions}."


def say(text: str) -> None:
    """Show a line."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
