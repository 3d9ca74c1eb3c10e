"""A whole build at full size: time, disk, and the build again with everything cached."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.driver import without_results
from tests.benchmarks.pages import Row, Section, gigabytes
from tests.benchmarks.scale.merge import time_row
from tests.benchmarks.scale.world import World, report_in

CACHED_SECONDS = 1.0
MEMORY = "6g"
SKIPPED = ("merging", "conversion", "quantization", "quality", "rebuild")
"""The checks that need the model in PyTorch, in fp32, as docs/how-to.md names them."""
AGAIN = 3
_EVERY = 0.5
"""Seconds between two looks at the disk."""

_CONFIG = """\
name = "whole"
skip_checks = {skipped}
[model]
source = "{model}"
[passes.model_builder]
precision = "int4"
[resources]
memory = "{memory}"
"""

_HOW = f"""\
`model_builder` on a checkpoint folder, as `python -m targets build` does it, in a container with
`memory = "{MEMORY}"`, without swap, and with all checks that need no data but {", ".join(SKIPPED)}:
these ask the model in PyTorch, in fp32. The disk is what cache and `dist/` take at most beside the
checkpoint, looked at every half second, each file counted once."""


def measure(world: World) -> Section:
    """Build once, then again and again."""
    return Section("whole", "A whole build, and again", _rows(world), _HOW)


def _rows(world: World) -> Iterator[Row]:
    with world.folder() as folder:
        yield from _rows_in(world, folder)


def _rows_in(world: World, folder: Path) -> Iterator[Row]:
    model = world.checkpoint if world.layers else world.small
    config = folder / "whole.toml"
    text = _CONFIG.format(model=model, skipped=json.dumps(SKIPPED), memory=MEMORY)
    config.write_text(text, "utf-8")
    dist = folder / "dist"
    weights = sum(file.stat().st_size for file in model.glob("*.safetensors"))
    with without_results(world.cache, folder) as cache:
        with _watched(cache, dist) as disk:
            first = world.build(config, cache, dist)
        yield time_row("first build", first)
        if not first.worked:
            return
        for step in report_in(dist)["passes"]:
            peak = gigabytes(step["peak_rss_bytes"])
            yield Row(f"its step `{step['name']}`", f"{step['seconds']:.1f} s, {peak}")
        yield Row("weights", gigabytes(weights))
        most = max(disk)
        aim = f"<= {gigabytes(weights)}: one copy of the weights"
        yield Row("disk beside the weights, at most", gigabytes(most), aim, most <= weights)
        builds = [world.build(config, cache, dist) for _ in range(AGAIN)]
        again = min(builds, key=lambda cost: cost.seconds)
        yield time_row(f"again, everything cached (best of {AGAIN})", again, CACHED_SECONDS)


@contextmanager
def _watched(*folders: Path) -> Iterator[list[int]]:
    """Yield what the folders took each time while the block ran, in bytes."""
    found: list[int] = []
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            found.append(_taken(folders))
            time.sleep(_EVERY)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def _taken(folders: tuple[Path, ...]) -> int:
    sizes = {}
    for folder in folders:
        for path in folder.rglob("*"):  # does not follow the links to toolchains
            try:
                status = path.lstat()
            except FileNotFoundError:
                continue
            sizes[status.st_ino] = status.st_blocks * 512
    return sum(sizes.values())
