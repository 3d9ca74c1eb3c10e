"""The artifact beside every peer, in one run: ``nox -s bench-peers``. Writes ``docs/peers.md``.

Quern's int4 artifact, untuned and tuned, the plain model builder's, llama.cpp's and OpenVINO
GenAI's are made from the same models and asked the same token ids, in turns. What was made is kept
in the cache; once it is there, all takes about 25 minutes on two quiet cores.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from targets.errors import QuernError
from targets.machine import usable_cores
from tests.benchmarks import pages
from tests.benchmarks.example import CACHE
from tests.benchmarks.pages import Section
from tests.benchmarks.peers.peers import Peer, in_torch, peers_of, versions
from tests.benchmarks.peers.rounds import quality_rows, rounds, speed_rows
from tests.benchmarks.peers.subjects import SUBJECTS, Subject
from tests.benchmarks.scale.world import World

_LAYERS = 8
_ROUNDS = {"smollm2": 5, "phi3": 3}
_HOW_SPEED = """\
Rates and seconds are geometric means over the rounds, each a fresh process of every peer; beside
them the ratio to Quern, untuned, with its 95 % interval over the rounds (of rates, above 1 is
faster; of load and memory, less)."""
_HOW_QUALITY = """\
16 windows of 512 tokens of `configs/base/stories-1.txt`, the same ids for all, read 128 at a time,
so that most see a cache of keys and values; beside it the ratio to transformers in fp32, with its
95 % interval over the windows. The model's weights are those of a GGUF file of type Q4_1, with
which nothing more is lost: it shows that two libraries that share no code read the text alike. All
others round what was rounded once, which favours forms that are close to Q4_1."""
_QUALITY_COLUMNS = ("what", "perplexity", "to fp32", "size")


def main() -> int:
    """Measure, write, and return the exit code."""
    arguments = parser().parse_args()
    chosen = arguments.only.split(",")
    unknown = [name for name in chosen if name not in SUBJECTS]
    if unknown:
        parser().error(f"--only knows {', '.join(SUBJECTS)}, not {', '.join(unknown)}")
    pages.require_clean(arguments.out)
    with tempfile.TemporaryDirectory(dir=arguments.scratch, prefix="quern-peers-") as name:
        cache = arguments.cache.absolute()
        world = World(Path(name), cache, None, None, arguments.layers, False, pages.say)
        try:
            for one in chosen:
                _measure(world, one, arguments)
        except QuernError as error:
            pages.say(f"error: {error} {error.hint}")
            return error.exit_code
    return 0


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    parser = argparse.ArgumentParser(prog="nox -s bench-peers --", description=__doc__)
    parser.add_argument("--only", default=",".join(SUBJECTS), help="models, with commas between")
    parser.add_argument(
        "--layers", type=int, default=_LAYERS, help="of Phi-3-mini's shape: 8 or 32"
    )
    parser.add_argument("--rounds", type=int, help=f"fresh processes of each (default: {_ROUNDS})")
    parser.add_argument("--scratch", type=Path, help="folder for what is removed at the end")
    parser.add_argument("--cache", type=Path, default=CACHE, help="as of the other commands")
    pages.add_out(parser, pages.PEERS)
    return parser


def _measure(world: World, name: str, arguments: argparse.Namespace) -> None:
    """Measure all peers on one model, and write its sections."""
    subject = SUBJECTS[name](world)
    peers, absent = _made(world, subject)
    count = arguments.rounds or _ROUNDS[name]
    out = arguments.out
    origin = _origin(world, f"--only {name} --layers {world.layers} --rounds {count}")
    notes = [f"{peer}: {one.note}." for peer, one in peers.items() if one.note]
    notes += [f"Absent: {peer}, since {why}." for peer, why in absent.items()]
    if subject.real:
        rows: Iterator[str] = quality_rows(world, subject, peers, in_torch(world, subject))
        title = f"{subject.title}: perplexity and size"
        section = Section(f"{name}-quality", title, rows, _HOW_QUALITY, _QUALITY_COLUMNS)
        pages.measure(section, out, origin)
    threads = sorted({1, usable_cores()}, reverse=True)
    processes = list(rounds(world, subject, peers, count, threads))
    sizes = [f"{one.bytes / 1e6:,.0f}" for one in peers.values()]
    size = f"| size of all files, MB |  | {' | '.join(sizes)} |"
    section = Section(
        f"{name}-speed",
        f"{subject.title}: speed",
        [*speed_rows(processes, list(peers)), size],
        "\n\n".join([_HOW_SPEED, *notes]),
        ("what", "threads", *peers),
    )
    pages.measure(section, out, origin)


def _made(world: World, subject: Subject) -> tuple[Mapping[str, Peer], Mapping[str, str]]:
    """Return the peers that can be had, and why others cannot."""
    peers, absent = {}, {}
    for name, make in peers_of(subject).items():
        try:
            peers[name] = make(world, subject)
        except QuernError as error:
            world.say(f"{name} is absent: {error} {error.hint}")
            absent[name] = str(error)
    return peers, absent


def _origin(world: World, options: str) -> str:
    load = f"a load of {os.getloadavg()[0]:.1f} on the machine when it began"
    return pages.origin(f"./nox -s bench-peers -- {options}", f"{versions(world)}, {load}")


if __name__ == "__main__":
    sys.exit(main())
