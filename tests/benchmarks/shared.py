"""What a shared cache gives: ``nox -s bench-shared``.

Builds ``configs/tone.toml`` in one clone of this project, which brings everything to a stand-in of
S3 on this machine, and then in a second clone with an empty cache. Writes the section of
``docs/measured.md`` with what that takes, and with what one large file and many steps take.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

from targets.cli.options import DEFAULT_CONFIG, PROJECT
from targets.figures import size
from tests.benchmarks import pages
from tests.benchmarks.example import CACHE
from tests.benchmarks.pages import Row, Section
from tests.support.object_stores.faulty_proxy import Fault, faulty_proxy
from tests.support.object_stores.moto import moto

_STEPS = 200
_AWAY = 0.02
"""Seconds that an answer takes longer than from this machine."""
_HOW = """\
The store is a stand-in of S3 (moto) on the same machine: times are of Quern's own work and that of
the stand-in, not of a network. The first clone trains what its cache lacks; the second one begins
with `git clone`, with the packages of the host installed, and with nothing else. Peak memory is the
largest resident set of the process that moves the file."""
_MOVE = """
import resource, sys, time
from pathlib import Path
from pipeline.contract.plan import Step
from tests.support.cached_steps import KEY, a_step
from tests.support.team import Clone
clone = Clone(Path(sys.argv[1]), sys.argv[2])
begun = time.monotonic()
if sys.argv[3] == "up":
    clone.push()
else:
    shared = clone.shared()
    assert shared.find([KEY]) and shared.bring(a_step()), clone.lines
print(time.monotonic() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""
_MAKE = """
import sys
from pathlib import Path
from targets.cache import Cache
from tests.support.cached_steps import finish_step
finish_step(Cache(Path(sys.argv[1])), "w" * int(sys.argv[2]))
"""
_FIND = """
import hashlib, sys, time
from pathlib import Path
from tests.support.team import Clone
keys = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(int(sys.argv[3]))]
shared = Clone(Path(sys.argv[1]), sys.argv[2]).shared()
begun = time.monotonic()
shared.find(keys)
print(time.monotonic() - begun)
"""


def main() -> None:
    """Measure, show, and write the section."""
    arguments = parser().parse_args()
    pages.require_clean(arguments.out)
    command = f"./nox -s bench-shared -- --megabytes {arguments.megabytes}"
    origin = pages.origin(command, pages.beside())
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        folder = Path(scratch)
        server = stack.enter_context(moto(folder / "packages", folder / "moto"))
        os.environ.update(server.environment)
        far = stack.enter_context(faulty_proxy(server))
        far.rule = lambda _asked: Fault(seconds=_AWAY)
        rows = measured(folder, arguments, server.remote, server.at(far.port))
        section = Section("shared", "A shared cache", rows, _HOW)
        pages.measure(section, arguments.out, origin)


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    parser = argparse.ArgumentParser(prog="nox -s bench-shared --", description=__doc__)
    parser.add_argument("--cache", type=Path, default=CACHE, help="of the first clone")
    parser.add_argument("--megabytes", type=int, default=200, help="size of the large file")
    pages.add_out(parser, pages.MEASURED)
    return parser


def measured(
    folder: Path, arguments: argparse.Namespace, remote: str, far: Mapping[str, str]
) -> Iterator[Row]:
    """Yield one row per figure."""
    first, second = folder / "first", folder / "second"
    clone(first)
    seconds = build(first, f"{remote}/tone", arguments.cache.absolute())
    yield Row("first clone: build and bring", f"{seconds:.1f} s")
    cloning = clone(second)
    seconds = build(second, f"{remote}/tone", folder / "cache")
    report = json.loads((second / "dist" / "tone" / "cpu" / "report.json").read_text())
    reasons = {step["reason"] for step in report["passes"]}
    shared = len(report["passes"]) if reasons == {"cached (shared)"} else 0
    yield Row("second clone: steps that came from the shared cache", f"{shared}", "all")
    yield Row("second clone: `git clone`", f"{cloning:.1f} s")
    yield Row("second clone: build, from an empty cache to the artifact", f"{seconds:.1f} s")
    made = model(first)
    same = made == model(second)
    yield Row("the same bytes in both artifacts", "yes" if same else "no", "yes", same)
    yield Row("size of the artifact", size(sum(map(len, made.values()))))
    away = f"{_AWAY * 1000:.0f} ms"
    (seconds,) = python(_FIND, folder / "asking", f"{remote}/steps", str(_STEPS), environment=far)
    yield Row(f"asking for {_STEPS} steps, each answer {away} away", f"{seconds:.2f} s")
    yield from moved(folder, arguments.megabytes, f"{remote}/large")


def moved(folder: Path, megabytes: int, remote: str) -> Iterator[Row]:
    """Yield how fast one file goes there and comes back, and in how much memory."""
    python(_MAKE, folder / "up", str(megabytes * 10**6))
    for way in ("up", "down"):
        seconds, peak = python(_MOVE, folder / way, remote, way)
        figure = f"{megabytes / seconds:.0f} MB/s, peak memory {size(int(peak))}"
        yield Row(f"a file of {megabytes} MB, {way}", figure)
        shutil.rmtree(folder / way)


def clone(folder: Path) -> float:
    """Clone this project; return the seconds."""
    begun = time.monotonic()
    subprocess.run(["git", "clone", "--quiet", PROJECT, folder], check=True)
    return time.monotonic() - begun


def build(folder: Path, remote: str, cache: Path) -> float:
    """Build the shipped example in a clone; return the seconds of the whole command."""
    config = folder / DEFAULT_CONFIG.relative_to(PROJECT)
    with config.open("a") as text:
        text.write(f'\n[cache]\nremote = "{remote}"\npush = true\n')
    command = [sys.executable, "-m", "targets", "build", "--target", "cpu", "--cache", str(cache)]
    begun = time.monotonic()
    subprocess.run(command, cwd=folder, env={**os.environ, "CI": "true"}, check=True)
    return time.monotonic() - begun


def python(
    code: str, *arguments: str | Path, environment: Mapping[str, str] | None = None
) -> list[float]:
    """Run code of this project in a process of its own; return the numbers that it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=PROJECT,
        env={**os.environ, **(environment or {})},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    lines = done.stdout.splitlines()
    return [float(number) for number in lines[-1].split()] if lines else []


def model(folder: Path) -> dict[Path, bytes]:
    """Return the files of a clone's artifact."""
    artifact = folder / "dist" / "tone" / "cpu" / "model"
    files = (path for path in artifact.rglob("*") if path.is_file())
    return {path.relative_to(artifact): path.read_bytes() for path in files}


if __name__ == "__main__":
    main()
