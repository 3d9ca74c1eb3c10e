"""The limits of latency that hold where a config gives none, beside what artifacts take."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipeline.builder.session_options import SessionOption, SessionValue, set_session
from targets.target import load_target
from tests.benchmarks.pages import Section, gigabytes
from tests.benchmarks.scale.passes import Call, run_passes
from tests.benchmarks.scale.speed import rates
from tests.benchmarks.scale.world import World

LAYERS = (4, 16)
"""Of the checkpoints between the small model and the one of full size."""
PROMPTS = (16, 128)
"""Their lengths, in tokens."""
COLUMNS = (
    *("artifact", "weights read", "a token", "limit"),
    *(cell for length in PROMPTS for cell in (f"prompt of {length}", "limit")),
    "kept",
)
FAULT: Mapping[SessionOption, SessionValue] = {"session.disable_prepacking": True}

_HOW = """\
int4 artifacts for cpu, as `model_builder` makes them by default, on one thread: the slowest that
ONNX Runtime GenAI chooses by itself. The best of several answers, in milliseconds, beside the
limits that `targets/cpu.toml` gives for that size and prompt. Where it says "not packed", weights
are not packed for the CPU before they are used (`session.disable_prepacking`): a fault that the
limits must catch."""


def measure(world: World) -> Section:
    """Measure every size, and one of them with the fault."""
    return Section("limits", "Default limits of latency", _rows(world), _HOW, COLUMNS)


def _rows(world: World) -> Iterator[str]:
    with _built(world, world.small) as artifact:
        yield _row(world, "small", artifact, runs=3)
    for layers in (number for number in LAYERS if number < world.layers):
        with world.folder() as folder:
            checkpoint = folder / "checkpoint"
            world.must_run("checkpoint", checkpoint, "--layers", str(layers))
            with _built(world, checkpoint) as artifact:
                shutil.rmtree(checkpoint)
                yield _row(world, f"{layers} layers", artifact, runs=3)
                if layers == LAYERS[0]:
                    _set(artifact, FAULT)
                    what = f"{layers} layers, not packed"
                    yield _row(world, what, artifact, runs=1, new=2, prompts=PROMPTS[:1])
    if world.layers:
        with _built(world, world.checkpoint) as artifact:
            yield _row(world, "full size" if world.full else f"{world.layers} layers", artifact, 2)


@contextmanager
def _built(world: World, model: Path) -> Iterator[Path]:
    """Yield an artifact of ``model`` that runs on one thread."""
    with world.folder() as folder:
        call = Call("model_builder", {"model": model}, load_target("cpu").builder_params())
        artifact = run_passes(world, folder, [call]).output("model_builder")
        _set(artifact, {})
        yield artifact


def _set(artifact: Path, options: Mapping[SessionOption, SessionValue]) -> None:
    path = artifact / "genai_config.json"
    config = json.loads(path.read_text("utf-8"))
    set_session(config, 1, options)
    path.write_text(json.dumps(config), "utf-8")


def _row(
    world: World,
    name: str,
    artifact: Path,
    runs: int,
    new: int = 16,
    prompts: Sequence[int] = PROMPTS,
) -> str:
    limits = load_target("cpu").limits
    found = {length: rates(world, artifact, length, new, runs) for length in prompts}
    size = next(iter(found.values())).weights_bytes
    token = 1000 / max(rate.decode for rate in found.values())
    pairs = [(token, limits.token_ms.of(size, 0))]
    for length, rate in found.items():
        pairs.append((1000 * length / rate.prompt, limits.first_token_ms.of(size, length)))
    kept = sum(took <= limit for took, limit in pairs)
    measured = [f"{took:.3g} | {limit:.0f}" for took, limit in pairs]
    cells = " | ".join([*measured, *["– | –"] * (len(PROMPTS) - len(prompts))])
    return f"| {name} | {gigabytes(size)} | {cells} | {kept} of {len(pairs)} |"
