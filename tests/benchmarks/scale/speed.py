"""How fast the artifact answers: as built, and tuned."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from tests.benchmarks.pages import Row, Section
from tests.benchmarks.scale.passes import Call, run_passes
from tests.benchmarks.scale.world import World

PROMPT, NEW, RUNS = _ASKED = 128, 32, 3
GAIN = 2.5
_TUNE: dict[str, JsonValue] = {
    "space": {"block_size": [32, 128], "symmetric": [True], "algorithm": ["default"]},
    "max_seconds": 600,
    "finalists": 1,
}

_HOW = f"""\
The cpu artifact in the cpu toolchain, a prompt of {PROMPT} tokens and {NEW} more, the best of
{RUNS} times in one process; the prompt's time includes its first answer. Untuned: as
`model_builder` makes it by default. Tuned: the pass `tune` over block sizes 32 and 128 and over
threads."""


@dataclass(frozen=True)
class Rates:
    """Tokens per second, and what they depend on."""

    prompt: float
    decode: float
    weights_bytes: int
    """What a token reads."""


def measure(world: World) -> Section:
    """Measure both models."""
    rows = (row for name, model in world.models() for row in _rows(world, name, model))
    return Section("speed", "Speed of the artifact", rows, _HOW)


def _rows(world: World, name: str, model: Path) -> Iterator[Row]:
    aims = name != "small" and world.full
    with world.folder() as folder:
        call = Call("model_builder", {"model": model}, {"execution_provider": "cpu"})
        untuned = rates(world, run_passes(world, folder, [call]).output("model_builder"), *_ASKED)
    yield Row(f"{name}, untuned: prompt", _shown(untuned.prompt))
    yield Row(f"{name}, untuned: decode", _shown(untuned.decode))
    with world.folder() as folder:
        ran = run_passes(world, folder, [Call("tune", {"model": model}, _TUNE)])
        if not ran.cost.worked:
            yield Row(f"{name}, tuned", ran.cost.ending, met=False)
            return
        told = ran.result("tune").metrics["tuning"]
        assert isinstance(told, dict)
        tuned = rates(world, ran.output("tune"), *_ASKED)
    yield Row(f"{name}: what `tune` chose", f"`{json.dumps(told['pinned'])}`")
    yield Row(f"{name}: time of `tune`", f"{ran.cost.seconds:.0f} s")
    yield Row(f"{name}, tuned: prompt", _shown(tuned.prompt))
    yield Row(f"{name}, tuned: decode", _shown(tuned.decode))
    gain = tuned.decode / untuned.decode
    aim = (f">= {GAIN:g}", gain >= GAIN) if aims else ("–", None)
    yield Row(f"{name}: tuned / untuned decode", f"{gain:.2f}", *aim)


def rates(world: World, artifact: Path, prompt: int, new: int, runs: int) -> Rates:
    """Return the best of so many answers of ``new`` tokens to a prompt of ``prompt`` tokens."""
    world.must_run("plain.speed", artifact, *map(str, (prompt, new, runs)))
    (line,) = (line for line in world.log.read_text().splitlines() if line.startswith("{"))
    return Rates(**json.loads(line))


def _shown(rate: float) -> str:
    return f"{rate:.1f} tokens/s"
