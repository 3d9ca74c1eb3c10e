"""Fine-tuning with QLoRA at full size: until the first step is done."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from pydantic import JsonValue

from targets.cli.options import PROJECT
from tests.benchmarks.pages import Row, Section
from tests.benchmarks.scale.merge import peak_row, time_row
from tests.benchmarks.scale.passes import Call, run_passes
from tests.benchmarks.scale.world import World

MEMORY_BYTES = 8 * 10**9
ROWS = 16
STEPS = 2

_HOW = f"""\
The pass `qlora` on the CPU: NF4 with double quantization, an adapter of rank 16 over all linear
layers, {STEPS} steps of one row of the shipped data each, in a container that may use 8 GB of
memory and no swap. The first step's time is from the container's start until the step is done.
The mapped checkpoint counts in the resident set as far as other processes left it in memory; the
container's limit, which is what must hold, counts what it read itself."""


def measure(world: World) -> Section:
    """Measure both models."""
    rows = (row for name, model in world.models() for row in _rows(world, name, model))
    return Section("training", "Fine-tuning with QLoRA", rows, _HOW)


def _rows(world: World, name: str, model: Path) -> Iterator[Row]:
    params: dict[str, JsonValue] = {
        "r": 16,
        "target_modules": ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"],
        "max_steps": STEPS,
        "batch_size": 1,
        "gradient_accumulation": 1,
        "gradient_checkpointing": True,
        "keep": "last",
    }
    with world.folder() as folder:
        data = folder / "tone.jsonl"
        with (PROJECT / "configs" / "tone.jsonl").open(encoding="utf-8") as rows:
            data.write_text("".join(islice(rows, ROWS)), "utf-8")
        call = Call("qlora", {"model": model}, params, data)
        ran = run_passes(world, folder, [call], memory_bytes=MEMORY_BYTES)
        large = name != "small" and world.full
        yield peak_row(name, ran.cost)
        yield time_row(name, ran.cost)
        if large:
            figure = "finished" if ran.cost.worked else ran.cost.ending
            yield Row(f"{name} in 8 GB, no swap", figure, "finishes", ran.cost.worked)
        steps = ran.progress.get("qlora", ())
        if steps:
            yield Row(f"{name}: time to the first step", f"{steps[0]:.1f} s")
        if ran.cost.worked:
            speed = ran.result("qlora").metrics["tokens_per_second"]
            yield Row(f"{name}: training speed", f"{speed} tokens/s")
