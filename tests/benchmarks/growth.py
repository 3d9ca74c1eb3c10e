"""How seconds and memory grow: ``nox -s bench-growth``. Writes ``docs/growth.md``.

Each part makes one thing larger: the rows of a data set, the weights of a model, the targets of a
build, and the builds at once. It has a table, and a picture beside the page. The parts that are
measured unless told take twenty minutes on two cores, and 20 GB of disk for a while.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path

from pipeline.weights.files import tensors_of
from targets.cli.options import PROJECT
from targets.target import load_target
from tests.benchmarks import pages
from tests.benchmarks.data import once, write
from tests.benchmarks.driver import without_results
from tests.benchmarks.example import CACHE
from tests.benchmarks.growth_plot import Point, drawing
from tests.benchmarks.pages import Section
from tests.benchmarks.scale import measured
from tests.benchmarks.scale.passes import Call, run_passes
from tests.benchmarks.scale.world import FULL_LAYERS, World
from tests.support.project import make_project

COLUMNS = ("what", "size", "time", "peak memory", "time per unit, to the first one's")
_EDITS = {
    # It measures until it is sure: its time says nothing of growth.
    "[model.pretrain]": 'skip_checks = ["latency"]\n\n[model.pretrain]\nsteps = 60',
    "[passes.lora]": "[passes.lora]\nmax_steps = 20",
}
_PACK = """
import json, random, sys, time
from pathlib import Path
from pipeline.data.packing import pack
chance = random.Random(1)
lengths = [chance.randint(20, 300) for _ in range(int(sys.argv[1]))]
begun = time.perf_counter()
pack(lengths, 1024)
print(json.dumps([time.perf_counter() - begun, Path("/proc/self/status").read_text()]))
"""
_SPLIT = """
import json, sys, time
from pathlib import Path
from pipeline.contract.data_spec import DataSpec
from pipeline.data.survey import survey
spec = DataSpec(path="x", prompt="{phrase}", completion="{tone}", label="tone")
checked = survey([Path(sys.argv[1])], spec, part=True).checked
begun = time.perf_counter()
checked.divided
print(json.dumps([time.perf_counter() - begun, Path("/proc/self/status").read_text()]))
"""


@dataclass(frozen=True)
class Asked:
    """What is measured."""

    scratch: Path
    cache: Path
    rows: tuple[int, ...]
    layers: tuple[int, ...]
    targets: tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """One thing that is made larger."""

    title: str
    axis: str
    text: str
    measure: Callable[[Asked], Iterator[Point]]


def _rows(asked: Asked) -> Iterator[Point]:
    for count in asked.rows:
        with _folder(asked) as folder:
            project = make_project(folder / "project")
            write(project.data, count)
            plan = ("plan", "--config", str(project.config), "--cache", str(folder / "cache"))
            for name in ("first plan", "plan again"):
                ran = once(plan)
                yield Point(name, count, ran.wall, ran.peak_mb * 1e6)
            yield _inside("the split in it", count, _SPLIT, str(project.data))
        yield _inside("pack", count, _PACK, str(count))


def _inside(name: str, size: float, code: str, argument: str) -> Point:
    """Return what a piece of Quern takes in a process of its own, whose peak counts as a whole."""
    ran = subprocess.run(
        [sys.executable, "-c", code, argument], cwd=PROJECT, capture_output=True, check=True
    )
    seconds, status = json.loads(ran.stdout)
    # What getrusage says begins with the memory of the process that started it.
    (peak_kb,) = re.findall(r"VmHWM:\s+(\d+) kB", status)
    return Point(name, size, seconds, int(peak_kb) * 1024)


def _weights(asked: Asked) -> Iterator[Point]:
    world = World(asked.scratch, asked.cache, None, None, 0, thorough=False, say=pages.say)
    params = load_target("cpu").builder_params()
    for layers in asked.layers:
        with world.folder() as folder:
            model = folder / "checkpoint"
            if layers:
                world.must_run("checkpoint", model, "--layers", str(layers))
            else:
                model = world.small
            ran = run_passes(world, folder, [Call("model_builder", {"model": model}, params)])
            if not ran.cost.worked:
                sys.exit(f"model_builder on {layers} layers: {ran.cost.ending}")
            yield Point("model_builder", _count(model), ran.cost.seconds, ran.cost.peak_bytes)


def _count(model: Path) -> int:
    """Return the number of weights in a checkpoint."""
    return sum(prod(tensor.shape) for tensor in tensors_of(model).values())


def _targets(asked: Asked) -> Iterator[Point]:
    for count in range(1, len(asked.targets) + 1):
        with _folder(asked) as folder, without_results(asked.cache, folder) as cache:
            seconds, peak = _build(folder, cache, asked.targets[:count])
            yield Point("build", count, seconds, peak)


def _builds(asked: Asked) -> Iterator[Point]:
    for count in (1, 2):
        with _folder(asked) as folder, ThreadPoolExecutor(count) as pool:
            folders = [folder / str(number) for number in range(count)]
            ran = list(pool.map(lambda one: _alone(asked, one), folders))
            yield Point(
                "builds at once",
                count,
                max(seconds for seconds, _ in ran),
                sum(peak for _, peak in ran),
            )


def _alone(asked: Asked, folder: Path) -> tuple[float, float]:
    folder.mkdir()
    with without_results(asked.cache, folder) as cache:
        return _build(folder, cache, asked.targets[:1])


def _build(folder: Path, cache: Path, targets: tuple[str, ...]) -> tuple[float, float]:
    """Return the seconds of a build, and the memory of its largest step and its driver together."""
    project = make_project(folder / "project")
    for old, new in _EDITS.items():
        project.edit(old, new)
    command: list[str | Path] = [sys.executable, "-m", "targets", "build"]
    command += ["--config", project.config, "--cache", cache, "--dist", folder / "dist"]
    command += ["--target", ",".join(targets)]
    log = folder / "log"
    cost = measured.run(command, os.environ, log, PROJECT, also_well=(3,))
    if not cost.worked:
        sys.exit(f"a build for {', '.join(targets)}: {cost.ending}")
    reports = [json.loads(file.read_text()) for file in folder.glob("dist/*/*/report.json")]
    steps = [step["peak_rss_bytes"] for report in reports for step in report["passes"]]
    return cost.seconds, cost.peak_bytes + max(steps)


PARTS: Mapping[str, Part] = {
    "rows": Part(
        "Rows",
        "rows of 60 words",
        "`plan` is the whole process, with an empty cache and again with nothing changed; its peak "
        "is that of its largest process. `the split in it` and `pack` (bins of 1,024 tokens) are "
        "timed inside a process, whose peak counts as a whole.",
        _rows,
    ),
    "weights": Part(
        "Weights",
        "weights",
        "The pass `model_builder`, int4 as the target cpu has it, in a container, whose start and "
        "end count: of the shipped small model, and of ever more layers of Phi-3-mini's shape.",
        _weights,
    ),
    "targets": Part(
        "Targets",
        "targets",
        "One command that trains a small model for a few steps and builds it for so many targets, "
        "with all checks but that of latency, from an empty result cache. Memory is that of the "
        "largest step, and of the driver.",
        _targets,
    ),
    "builds": Part(
        "Builds at once",
        "builds at once",
        "The same for one target; two at once with caches of their own. Time is until both have "
        "ended, and memory that of both.",
        _builds,
    ),
}


def main() -> None:
    """Measure, show, and write sections and pictures."""
    arguments = parser().parse_args()
    pages.require_clean(arguments.out)
    chosen = arguments.only.split(",")
    unknown = [name for name in chosen if name not in PARTS]
    if unknown:
        parser().error(f"--only knows {', '.join(PARTS)}, not {', '.join(unknown)}")
    numbers = {"rows": arguments.rows, "layers": arguments.layers}
    options = " ".join(f"--{name} {' '.join(map(str, some))}" for name, some in numbers.items())
    options = f"--only {arguments.only} {options} --targets {arguments.targets}"
    origin = pages.origin(f"./nox -s bench-growth -- {options}", pages.beside())
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
        asked = Asked(
            Path(scratch),
            arguments.cache.absolute(),
            tuple(arguments.rows),
            tuple(arguments.layers),
            tuple(arguments.targets.split(",")),
        )
        for name in chosen:
            _measure(name, PARTS[name], asked, arguments.out, origin)


def _measure(name: str, part: Part, asked: Asked, out: Path, origin: str) -> None:
    points: list[Point] = []
    picture = out.with_name(f"{out.stem}-{name}.svg")

    def rows() -> Iterator[str]:
        for point in part.measure(asked):
            points.append(point)
            yield _row(point, next(one for one in points if one.series == point.series))

    text = f"{textwrap.fill(part.text, 100)}\n\n![{part.title}: time and memory]({picture.name})"
    pages.measure(Section(name, part.title, rows(), text, COLUMNS), out, origin)
    picture.write_text(drawing(points, f"{part.title}: time and memory", part.axis), "utf-8")


def _row(point: Point, first: Point) -> str:
    """Return a row; its last cell is below 1 where time grows more slowly than the size."""
    each = (point.seconds / point.size) / (first.seconds / first.size)
    cells = (
        point.series,
        f"{point.size:,.0f}",
        f"{point.seconds:.2f} s",
        f"{point.peak_bytes / 1e6:,.0f} MB",
        f"{each:.2f}",
    )
    return f"| {' | '.join(cells)} |"


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    parser = argparse.ArgumentParser(prog="nox -s bench-growth --", description=__doc__)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas between")
    parser.add_argument(
        "--rows", type=int, nargs="+", default=[10_000, 30_000, 100_000, 300_000, 1_000_000]
    )
    parser.add_argument(
        "--layers",
        type=int,
        nargs="+",
        default=[0, 1, 4, 16, FULL_LAYERS],
        help="of Phi-3-mini's shape; 0: the shipped small model",
    )
    described = "with commas between; cuda takes several GB of toolchain"
    parser.add_argument("--targets", default="cpu,webgpu,directml", help=described)
    parser.add_argument("--scratch", type=Path, help="folder for what is removed at the end")
    parser.add_argument("--cache", type=Path, default=CACHE, help="as of the other commands")
    pages.add_out(parser, pages.GROWTH)
    return parser


@contextmanager
def _folder(asked: Asked) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=asked.scratch) as name:
        yield Path(name)


if __name__ == "__main__":
    main()
