"""Fine-tuning with QLoRA at full size: until the first step is done."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from pydantic import JsonValue

from pipeline.training.four_bit_params import QloraParams
from pipeline.training.params import QUANTIZED
from targets.cli.options import PROJECT
from tests.benchmarks.pages import Row, Section, gigabytes
from tests.benchmarks.scale.merge import peak_row, sameness, time_row
from tests.benchmarks.scale.passes import Call, Ran, run_passes
from tests.benchmarks.scale.same import different_tensors
from tests.benchmarks.scale.world import World

MEMORY_BYTES = 8 * 10**9
ROWS = 16
STEPS = 2

_HOW = f"""\
The pass `qlora` on the CPU: NF4 with double quantization, an adapter of rank 16 over all linear
layers, {STEPS} steps of one row of the shipped data each, in a container that may use 8 GB of
memory and no swap. The first step's time is from the container's start until the step is done.
The mapped checkpoint counts in the resident set as far as other processes left it in memory; the
container's limit, which is what must hold, counts what it read itself. Kept base: the pass
`quantize_base`, which a build has before such a training where the base is large, in a container
of its own with the same limit, and then the same training over what it kept."""


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
    large = name != "small" and world.full
    with world.folder() as folder:
        data = folder / "tone.jsonl"
        with (PROJECT / "configs" / "tone.jsonl").open(encoding="utf-8") as rows:
            data.write_text("".join(islice(rows, ROWS)), "utf-8")
        alone = _run(world, folder / "alone", Call("qlora", {"model": model}, params, data))
        yield from _training_rows(name, alone, large)
        form = QloraParams.model_validate(params).kept_base().model_dump(mode="json")
        made = _run(world, folder / "made", Call("quantize_base", {"model": model}, form))
        what = f"{name}, kept base"
        yield time_row(what, made.cost)
        yield peak_row(what, made.cost)
        if not made.cost.worked:
            return
        kept = made.output("quantize_base")
        yield Row(f"{what}: size", gigabytes(_size(kept)))
        inputs: dict[str, Path | str] = {"model": model, QUANTIZED: kept}
        over = _run(world, folder / "over", Call("qlora", inputs, params, data))
        yield from _training_rows(f"{name}, over the kept base", over, large)
        if alone.cost.worked and over.cost.worked:
            both = (alone.output("qlora"), over.output("qlora"))
            yield sameness(f"{name}, adapters of both", different_tensors(*both))


def _run(world: World, folder: Path, call: Call) -> Ran:
    folder.mkdir()
    return run_passes(world, folder, [call], memory_bytes=MEMORY_BYTES)


def _training_rows(what: str, ran: Ran, large: bool) -> Iterator[Row]:
    yield peak_row(what, ran.cost)
    yield time_row(what, ran.cost)
    if large:
        figure = "finished" if ran.cost.worked else ran.cost.ending
        yield Row(f"{what}, in 8 GB, no swap", figure, "finishes", ran.cost.worked)
    steps = ran.progress.get("qlora", ())
    if steps:
        yield Row(f"{what}: time to the first step", f"{steps[0]:.1f} s")
    if ran.cost.worked:
        speed = ran.result("qlora").metrics["tokens_per_second"]
        yield Row(f"{what}: training speed", f"{speed} tokens/s")


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())
