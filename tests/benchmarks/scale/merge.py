"""Merging an adapter: Quern's pass beside PEFT."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from pipeline.weights.files import tensors_of
from tests.benchmarks.pages import Row, Section, gigabytes
from tests.benchmarks.scale.measured import Cost
from tests.benchmarks.scale.passes import Call, run_passes
from tests.benchmarks.scale.same import different_tensors
from tests.benchmarks.scale.world import World

PEAK_BYTES = 1.5e9
_QUANTIZED = {"quant_type": "nf4", "double_quant": True}

_HOW = """\
A LoRA adapter of rank 16 over all linear layers, with random weights, merged in fp32 and written as
the base is. Plain: `merge_and_unload` of PEFT on the model in fp32, then `save_pretrained`; with
products that are the same on every CPU (`pipeline/weights/arithmetic.py`), as in Quern's pass. The
dequantized base is that of QLoRA."""


def measure(world: World) -> Section:
    """Measure both models."""
    rows = (row for name, base in world.models() for row in _rows(world, name, base))
    return Section("merge", "Merge", rows, _HOW)


def _rows(world: World, name: str, base: Path) -> Iterator[Row]:
    with world.folder() as folder:
        adapter = folder / "adapter"
        world.must_run("plain.adapter", base, adapter)
        ran = run_passes(world, folder, [_call(base, adapter)])
        limited = name != "small" and world.full
        yield time_row(f"{name}, Quern", ran.cost)
        yield peak_row(f"{name}, Quern", ran.cost, PEAK_BYTES if limited else None)
        if world.thorough or name == "small":
            out = folder / "plain"
            plain = world.run("plain.merge", base, adapter, out)
            yield time_row(f"{name}, plain", plain)
            yield peak_row(f"{name}, plain", plain)
            if ran.cost.worked and plain.worked:
                different = different_tensors(ran.output("merge"), out)
                yield sameness(f"{name}, tensors of both", different)
    if not (world.thorough or name == "small"):
        return
    with world.folder() as folder:
        adapter = folder / "adapter"
        world.must_run("plain.adapter", base, adapter)
        record = {**_QUANTIZED, "layers": _decoder_layers(base)}
        (adapter / "base_quantization.json").write_text(json.dumps(record))
        ran = run_passes(world, folder, [_call(base, adapter)])
        yield time_row(f"{name}, Quern, dequantized base", ran.cost)
        yield peak_row(
            f"{name}, Quern, dequantized base", ran.cost, PEAK_BYTES if limited else None
        )


def _decoder_layers(base: Path) -> list[str]:
    """Return the linear layers of the decoder, which QLoRA quantizes."""
    return [
        name.removesuffix(".weight")
        for name, tensor in tensors_of(base).items()
        if len(tensor.shape) == 2 and ".layers." in name
    ]


def _call(base: Path, adapter: Path) -> Call:
    return Call("merge", {"model": base, "adapter": adapter}, {})


def time_row(what: str, cost: Cost, limit: float | None = None) -> Row:
    """Return the wall time of a process, or why there is none."""
    figure = f"{cost.seconds:.1f} s" if cost.worked else f"{cost.ending} ({cost.seconds:.0f} s)"
    if limit is None:
        return Row(f"{what}: time", figure)
    return Row(f"{what}: time", figure, f"<= {limit:g} s", cost.worked and cost.seconds <= limit)


def peak_row(what: str, cost: Cost, limit: float | None = None) -> Row:
    """Return the peak memory of a process."""
    figure = gigabytes(cost.peak_bytes) if cost.peak_bytes else "not known"
    if limit is None:
        return Row(f"{what}: peak memory", figure)
    met = cost.worked and cost.peak_bytes <= limit
    return Row(f"{what}: peak memory", figure, f"<= {gigabytes(limit)}", met)


def sameness(what: str, different: list[str]) -> Row:
    """Return whether two results are the same bytes."""
    if not different:
        return Row(what, "the same bytes", "the same bytes", met=True)
    named = f"{len(different)} differ: {different[0]}"
    return Row(what, named, "the same bytes", met=False)
