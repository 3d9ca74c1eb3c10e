"""Merging and quantizing in one step, and one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from targets.target import load_target
from tests.benchmarks.pages import Row, Section, gigabytes
from tests.benchmarks.scale.builder import MEMORY_BYTES
from tests.benchmarks.scale.merge import peak_row, sameness, time_row
from tests.benchmarks.scale.passes import Call, Ran, run_passes
from tests.benchmarks.scale.same import different_files
from tests.benchmarks.scale.world import World

_HOW = """\
A LoRA adapter of rank 16 over all linear layers, merged and built into an int4 artifact for cpu by
the pass `merged_builder`, in a container that may use 3 GiB of memory and no swap (`memory = "3g"`
of `[resources]`). Quern takes this one step where no check reads the merged checkpoint. Apart:
`merge` followed by `model_builder` in another container. "Written" is what the passes made."""


def measure(world: World) -> Section:
    """Measure both models."""
    rows = (row for name, base in world.models() for row in _rows(world, name, base))
    return Section("one-step", "Merge and quantize in one step", rows, _HOW)


def _rows(world: World, name: str, base: Path) -> Iterator[Row]:
    params = load_target("cpu").builder_params()
    with world.folder() as folder:
        adapter = folder / "adapter"
        world.must_run("plain.adapter", base, adapter)
        inputs = {"model": base, "adapter": adapter}
        calls = [Call("merged_builder", inputs, params)]
        (folder / "joined").mkdir()
        joined = run_passes(world, folder / "joined", calls, memory_bytes=MEMORY_BYTES)
        yield from _cost(f"{name}, in one step", joined)
        figure = "finished" if joined.cost.worked else joined.cost.ending
        yield Row(f"{name}, in one step, in 3 GiB", figure, "finishes", joined.cost.worked)
        if not (world.thorough or name == "small"):
            return
        both = [Call("merge", inputs, {}), Call("model_builder", {"model": "merge"}, params)]
        (folder / "apart").mkdir()
        apart = run_passes(world, folder / "apart", both)
        yield from _cost(f"{name}, apart", apart)
        if apart.cost.worked and joined.cost.worked:
            one, other = apart.output("model_builder"), joined.output("merged_builder")
            different = different_files(one, other, ("model.onnx", "model.onnx.data"))
            yield sameness(f"{name}, artifacts of both ways", different)


def _cost(what: str, ran: Ran) -> Iterator[Row]:
    yield time_row(what, ran.cost)
    yield peak_row(what, ran.cost)
    yield Row(f"{what}: written", gigabytes(_written(ran)))


def _written(ran: Ran) -> int:
    return sum(path.stat().st_size for path in ran.work.rglob("*") if path.is_file())
