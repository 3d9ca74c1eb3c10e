"""Passes that plant faults of whole builds, as a user's own: copied beside a config.

``Join`` stands for ``merge``. ``Plant`` takes the faults of the artifact alone from the package
``artifact_faults`` of ``tests/attack``, copied as well.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pipeline.contract.frozen import Frozen
from pipeline.contract.kinds import Kind
from pipeline.passes.base import BasePass


def copied(source: Path, folder: Path) -> None:
    """Copy what a step left, whose files nobody may write, so that it can be written to."""
    shutil.copytree(source, folder, dirs_exist_ok=True, copy_function=shutil.copyfile)


class JoinParams(Frozen):
    times: int = 1
    dtype: Literal["fp32", "bf16", "fp16"] = "fp32"
    stale: bool = False
    fault: str = ""


class Join(BasePass[JoinParams]):
    """Merge an adapter any number of times; ``stale`` takes a matrix from elsewhere, as of a file
    that the checkpoint's index does not name. ``fault`` is one of checkpoints."""

    Params = JoinParams
    consumes: ClassVar[Mapping[str, Kind]] = {"model": "checkpoint", "adapter": "adapter"}
    produces: ClassVar[Kind] = "checkpoint"

    def run(self, inputs: Any, params: JoinParams, out_dir: Path) -> dict[str, Any]:
        from pipeline.training.fingerprint import FINGERPRINT_FILE
        from pipeline.training.merge_params import MergeParams
        from pipeline.training.merging import merge

        if not params.times:
            copied(inputs["model"], out_dir)
            return {}
        adapter, base = out_dir / "adapter", inputs["model"]
        copied(inputs["adapter"], adapter)
        for number in range(params.times):
            last = number == params.times - 1
            made = out_dir if last else out_dir / f"merged-{number}"
            made.mkdir(exist_ok=True)
            paths = {"model": base, "adapter": adapter}
            dtype = params.dtype if last else "fp32"
            merge(dataclasses.replace(inputs, paths=paths), MergeParams(dtype=dtype), made)
            (adapter / FINGERPRINT_FILE).unlink(missing_ok=True)
            base = made
        for folder in [adapter, *out_dir.glob("merged-*")]:
            shutil.rmtree(folder)
        if params.stale:
            make_stale(out_dir)
        if params.fault:
            from artifact_faults import CHECKPOINT

            CHECKPOINT[params.fault](out_dir)
        return {}


def make_stale(checkpoint: Path) -> None:
    """Put another matrix where one of the checkpoint's is."""
    from safetensors.torch import load_file, save_file

    file = checkpoint / "model.safetensors"
    weights = load_file(file)
    name = "model.layers.1.mlp.down_proj.weight"
    save_file({**weights, name: weights[name].roll(1, 0)}, file, metadata={"format": "pt"})


class PlantParams(Frozen):
    fault: str = ""


class Plant(BasePass[PlantParams]):
    """Copy the model folder and spoil it. Without a fault it is copied only."""

    Params = PlantParams
    consumes: ClassVar[Mapping[str, Kind]] = {"artifact": "onnx"}
    produces: ClassVar[Kind] = "onnx"
    runs_on: ClassVar[Literal["host", "target"]] = "target"

    def run(self, inputs: Any, params: PlantParams, out_dir: Path) -> dict[str, Any]:
        from artifact_faults import FAULTS

        copied(inputs["artifact"], out_dir)
        if params.fault:
            FAULTS[params.fault](out_dir)
        return {}


class FloatInstead(BasePass[Frozen]):
    """Put the graph of an fp16 build where an int4 one should be."""

    Params = Frozen
    consumes: ClassVar[Mapping[str, Kind]] = {"artifact": "onnx", "model": "checkpoint"}
    produces: ClassVar[Kind] = "onnx"
    runs_on: ClassVar[Literal["host", "target"]] = "target"

    def run(self, inputs: Any, params: Frozen, out_dir: Path) -> dict[str, Any]:  # noqa: ARG002
        from pipeline.builder.build import build
        from pipeline.builder.params import ModelBuilderParams

        copied(inputs["artifact"], out_dir)
        other = out_dir / "other"
        other.mkdir()
        wanted = ModelBuilderParams(precision="fp16", execution_provider="cuda")
        build(inputs["model"], other, wanted, inputs.report)
        for name in ("model.onnx", "model.onnx.data"):
            shutil.move(other / name, out_dir / name)
        shutil.rmtree(other)
        return {}
