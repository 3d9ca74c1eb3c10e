"""Working for the rounding of weights, layer by layer: ``gptq`` and ``awq``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from targets.cli.options import PROJECT
from tests.benchmarks.pages import Row, Section, gigabytes
from tests.benchmarks.scale.merge import peak_row, time_row
from tests.benchmarks.scale.passes import Call, run_passes
from tests.benchmarks.scale.world import World

MEMORY_BYTES = 8 * 10**9
PASSES = ("gptq", "awq")
_ROWS, _TOKENS = 8, 512
_SHIPPED_ROWS, _WIDTH, _FP32 = 256, 3072, 4
_TOGETHER = 120
"""Phrases of the shipped example that are more than :data:`_TOKENS` tokens."""

_HIDDEN, _ALL_HIDDEN = (
    gigabytes(rows * _TOKENS * _WIDTH * _FP32) for rows in (_ROWS, _SHIPPED_ROWS)
)
_HOW = f"""\
Both passes with {_ROWS} rows of {_TOKENS} tokens, in a container that may use 8 GB of memory and
no swap. The hidden states of these rows are {_HIDDEN}; those of as many rows as are looked at
unless told otherwise, {_SHIPPED_ROWS}, would be {_ALL_HIDDEN} if all were as long."""


def measure(world: World) -> Section:
    """Measure the large model."""
    rows = (
        row
        for name, model in world.models()
        if name != "small"
        for row in _rows(world, name, model)
    )
    return Section("rounding", "Rounding with data", rows, _HOW)


def _rows(world: World, name: str, model: Path) -> Iterator[Row]:
    with world.folder() as folder:
        data = _long_rows(folder / "rows.jsonl")
        for kind in PASSES:
            place = folder / kind
            place.mkdir()
            call = Call(kind, {"model": model}, {"samples": _ROWS, "max_length": _TOKENS}, data)
            ran = run_passes(world, place, [call], memory_bytes=MEMORY_BYTES)
            what = f"{name}, {kind}"
            yield time_row(what, ran.cost)
            yield peak_row(what, ran.cost)
            if ran.cost.worked:
                tokens = ran.result(kind).metrics["tokens"]
                yield Row(f"{what}: tokens that it looked at", f"{tokens}")


def _long_rows(file: Path) -> Path:
    """Write rows that are longer than what is looked at."""
    lines = (PROJECT / "configs" / "tone.jsonl").read_text("utf-8").splitlines()
    phrases = [json.loads(line)["phrase"] for line in lines]
    texts = [
        " ".join(phrases[at : at + _TOGETHER]) for at in range(0, len(phrases), _TOGETHER // 4)
    ]
    rows = [json.dumps({"phrase": text, "tone": "joy"}) for text in texts]
    file.write_text("\n".join(rows) + "\n", "utf-8")
    return file
