"""Keeps the adapter in a file of its own beside the model, so that several can share one model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import JsonValue

from pipeline.contract.kinds import Kind
from pipeline.contract.step import Inputs
from pipeline.passes.base import BasePass
from pipeline.training.separate_params import SeparateParams


class Pass(BasePass[SeparateParams]):
    """Give the built model inputs for an adapter, and write that as ``NAME.onnx_adapter``. Used
    after ``model_builder``, instead of ``merge`` before it. Everything that runs the artifact runs
    it with the adapter."""

    Params = SeparateParams
    consumes: ClassVar[Mapping[str, Kind]] = {
        "onnx": "onnx",
        "model": "checkpoint",
        "adapter": "adapter",
    }
    produces: ClassVar[Kind] = "onnx"
    runs_on: ClassVar[Literal["host", "target"]] = "target"

    def run(self, inputs: Inputs, params: SeparateParams, out_dir: Path) -> dict[str, JsonValue]:
        """Copy the model and add the adapter; return how it is called, and how much it changes."""
        import shutil

        from pipeline.contract.adapter_name import SUFFIX
        from pipeline.training.fingerprint import check_fingerprint
        from pipeline.training.separate_adapter import attach

        check_fingerprint(inputs["model"], inputs["adapter"])
        for path in sorted(inputs["onnx"].iterdir()):
            shutil.copyfile(path, out_dir / path.name)
        counts = attach(out_dir, inputs["model"], inputs["adapter"], params.name, params.layers)
        size = (out_dir / f"{params.name}{SUFFIX}").stat().st_size
        facts: dict[str, JsonValue] = {**params.model_dump(mode="json"), **counts, "bytes": size}
        return {"adapter": facts, "bytes": sum(file.stat().st_size for file in out_dir.iterdir())}
