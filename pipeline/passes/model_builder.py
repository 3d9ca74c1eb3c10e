"""Builds the ONNX Runtime GenAI model folder of a checkpoint: graph, weights, tokenizer, config."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import JsonValue

from pipeline.builder.params import ModelBuilderParams
from pipeline.contract.kinds import Kind
from pipeline.contract.step import Inputs
from pipeline.passes.base import BasePass


class Pass(BasePass[ModelBuilderParams]):
    """Build the artifact."""

    Params = ModelBuilderParams
    consumes: ClassVar[dict[str, Kind]] = {"model": "checkpoint"}
    may_consume: ClassVar[dict[str, Kind]] = {"integers": "integers", "widths": "widths"}
    produces: ClassVar[Kind] = "onnx"
    runs_on: ClassVar[Literal["host", "target"]] = "target"

    def run(
        self, inputs: Inputs, params: ModelBuilderParams, out_dir: Path
    ) -> dict[str, JsonValue]:
        """Write the folder that ``onnxruntime_genai.Model`` loads; return the builder's options."""
        from pipeline.builder.build import build_at

        return build_at(inputs.paths, params, out_dir, inputs.report)
