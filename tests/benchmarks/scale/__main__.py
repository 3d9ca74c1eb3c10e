"""What a model of full size costs: ``nox -s bench-scale``. Writes ``docs/scale.md``.

Each part measures one thing on a checkpoint of Phi-3-mini's size with random weights and on the
shipped small model. Those that are measured unless told take a quarter of an hour on two cores.
``--thorough`` measures the plain library calls beside them, which need 23 GB of memory that nothing
else uses.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from platformdirs import user_cache_path

from targets.errors import QuernError
from targets.toolchain.requirements import read_lock
from tests.benchmarks import pages
from tests.benchmarks.pages import Section
from tests.benchmarks.scale import (
    builder,
    chain,
    limits,
    merge,
    one_step,
    proofs,
    rounding,
    speed,
    training,
    whole,
)
from tests.benchmarks.scale.world import FULL_LAYERS, World

PARTS: Mapping[str, Callable[[World], Section]] = {
    "merge": merge.measure,
    "builder": builder.measure,
    "one-step": one_step.measure,
    "training": training.measure,
    "speed": speed.measure,
    "chain": chain.measure,
    "proofs": proofs.measure,
    "whole": whole.measure,
    "limits": limits.measure,
    "rounding": rounding.measure,
}
USUAL = ("builder", "one-step", "whole", "limits")
"""The parts that are measured unless told."""
_LAYER_BYTES, _OTHER_BYTES = 226_500_000, 394_000_000
"""Weights of one layer, and of what is not in a layer, in bf16."""
_COPIES = 3
"""Of the weights, that a part and the checkpoint take together at most."""
VERSIONS = ("torch", "transformers", "peft", "onnxruntime", "onnxruntime-genai")
_CACHE = Path(os.environ.get("QUERN_CACHE") or user_cache_path("quern"))


def main() -> int:
    """Measure, write, and return the exit code."""
    arguments = parser().parse_args()
    chosen = arguments.only.split(",")
    unknown = [name for name in chosen if name not in PARTS]
    if unknown:
        parser().error(f"--only knows {', '.join(PARTS)}, not {', '.join(unknown)}")
    pages.require_clean(arguments.out)
    with tempfile.TemporaryDirectory(dir=arguments.scratch, prefix="quern-scale-") as name:
        check_space(Path(name), arguments.layers, arguments.checkpoint is not None)
        world = World(
            scratch=Path(name),
            cache=arguments.cache.absolute(),
            given=arguments.checkpoint and arguments.checkpoint.absolute(),
            given_small=arguments.small and arguments.small.absolute(),
            layers=arguments.layers,
            thorough=arguments.thorough,
            say=pages.say,
        )
        for part in chosen:
            pages.say(f"measuring {part}")
            try:
                pages.measure(PARTS[part](world), arguments.out, origin(world, part))
            except QuernError as error:
                pages.say(f"{part} cannot be measured: {error} {error.hint}")
                return error.exit_code
    return 0


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    parser = argparse.ArgumentParser(prog="nox -s bench-scale --", description=__doc__)
    parser.add_argument(
        "--only",
        default=",".join(USUAL),
        help=f"parts, with commas between (default: {','.join(USUAL)}; "
        f"also {','.join(sorted(PARTS.keys() - USUAL))})",
    )
    parser.add_argument(
        "--layers", type=int, default=FULL_LAYERS, help="fewer: a quick look; 0: the small model"
    )
    parser.add_argument(
        "--thorough", action="store_true", help="plain calls at full size and other targets too"
    )
    parser.add_argument("--checkpoint", type=Path, help="one of the wanted size, made before")
    parser.add_argument("--small", type=Path, help="the shipped base model, made before")
    parser.add_argument("--scratch", type=Path, help="folder for what is removed at the end")
    parser.add_argument("--cache", type=Path, default=_CACHE, help="as of the other commands")
    pages.add_out(parser, pages.SCALE)
    return parser


def check_space(scratch: Path, layers: int, given: bool) -> None:
    """End early where the disk is too small."""
    copies = _COPIES - 1 if given else _COPIES
    needed = copies * (layers * _LAYER_BYTES + _OTHER_BYTES)
    free = shutil.disk_usage(scratch).free
    pages.say(
        f"needs up to {needed / 1e9:.0f} GB in {scratch.parent}; {free / 1e9:.0f} GB are free"
    )
    if free < needed:
        sys.exit("too little space: name another folder with --scratch, or use --layers")


def origin(world: World, part: str) -> str:
    """Return when, on what and with what code a section is measured."""
    command = f"./nox -s bench-scale -- --only {part}"
    if not world.full:
        command += f" --layers {world.layers}"
    if world.thorough:
        command += " --thorough"
    pins = {str(pin.name): str(pin) for pin in read_lock(world.toolchain().lock)}
    load = f"a load of {os.getloadavg()[0]:.1f} on the machine when it began"
    return pages.origin(command, ", ".join([*(pins[name] for name in VERSIONS), load]))


if __name__ == "__main__":
    sys.exit(main())
