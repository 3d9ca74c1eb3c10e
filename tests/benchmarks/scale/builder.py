"""Building int4 artifacts: Quern's pass in a small container beside the model builder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipeline.builder.options import requested_options, required_options, resolve
from pipeline.builder.params import ModelBuilderParams
from targets.target import load_target
from tests.benchmarks.pages import Row, Section
from tests.benchmarks.scale.measured import Cost
from tests.benchmarks.scale.merge import peak_row, sameness, time_row
from tests.benchmarks.scale.passes import Call, Ran, run_passes
from tests.benchmarks.scale.same import different_files
from tests.benchmarks.scale.world import World

MEMORY_BYTES = 3 * 2**30
SECONDS = 60.0
TOOLCHAINS: Mapping[str, str] = {"cpu": "cpu", "cuda": "cpu", "directml": "directml"}
"""By target, the toolchain that builds here: that of cuda has the same model builder as that of
cpu, and several GB of libraries that building does not use."""
FILES = ("model.onnx", "model.onnx.data")

_HOW = """\
int4 with Quern's defaults, but for an embedding in floats, as the plain builder leaves it. Quern:
the pass `model_builder` in a container that may use 3 GiB of memory and no swap (`mem_limit` and
`memswap_limit` of the engine: what `[resources] memory` in a config does). Its peak is the
report's, with that of the largest process that the pass started, so that shared pages can count
twice. Plain: `create_model` of onnxruntime_genai with the same options and all memory of the
machine; with cosines and sines that are the same on every CPU, as in Quern's pass, without which
the rotary tables differ in the last bit. The artifact for cuda is built with the wheels of the cpu
toolchain, whose model builder is the same."""


def measure(world: World) -> Section:
    """Measure both models, for every target if asked to be thorough."""
    rows = (row for name, model in world.models() for row in _rows(world, name, model))
    return Section("builder", "Model builder, int4", rows, _HOW)


def _rows(world: World, name: str, model: Path) -> Iterator[Row]:
    large = name != "small"
    seconds = SECONDS if large and world.full else None
    with world.folder() as folder:
        built: dict[str, Ran] = {}
        targets = tuple(TOOLCHAINS) if world.thorough else ("cpu",)
        for target in targets:
            place = folder / target
            place.mkdir()
            call = Call("model_builder", {"model": model}, _params(target).model_dump(mode="json"))
            built[target] = run_passes(world, place, [call], TOOLCHAINS[target], MEMORY_BYTES)
            what = f"{name}, {target}, Quern in 3 GiB"
            yield time_row(what, built[target].cost, seconds)
            yield peak_row(what, built[target].cost)
            if large:
                worked = built[target].cost.worked
                figure = "finished" if worked else built[target].cost.ending
                yield Row(f"{what}, no swap", figure, "finishes", worked)
        for target, ran in built.items():
            if large and not world.thorough:
                return
            out = folder / "plain"
            plain = _plain(world, model, out, target)
            what = f"{name}, {target}"
            yield time_row(f"{what}, plain", plain)
            yield peak_row(f"{what}, plain", plain)
            if ran.cost.worked and plain.worked:
                different = different_files(ran.output("model_builder"), out, FILES)
                yield sameness(f"{what}, {' and '.join(FILES)} of both", different)
            shutil.rmtree(out, ignore_errors=True)


def _params(target: str) -> ModelBuilderParams:
    table = {**load_target(target).builder_params(), "embedding": "float"}
    return ModelBuilderParams.model_validate(table)


def _plain(world: World, model: Path, out: Path, target: str) -> Cost:
    params = _params(target)
    config = json.loads((model / "config.json").read_text("utf-8"))
    known = load_target(TOOLCHAINS[target]).builder_options()
    options = resolve({**required_options(config, known), **requested_options(params)}, known)
    return world.run(
        *("plain.builder", model, out, params.precision, params.execution_provider),
        *(f"{name}={value}" for name, value in options.items()),
        target=TOOLCHAINS[target],
    )
