"""Merges and builds in one step, without writing the merged checkpoint.

The planner uses it instead of ``merge`` and ``model_builder`` if no other step reads the merged
checkpoint.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import JsonValue

from pipeline.builder.params import ModelBuilderParams
from pipeline.contract.kinds import Kind
from pipeline.contract.step import Inputs
from pipeline.passes.base import BasePass
from pipeline.training.merge_params import MergeParams


class MergedBuilderParams(ModelBuilderParams):
    """Parameters of the ``model_builder`` and ``merge`` passes."""

    merge: MergeParams = MergeParams()
    """Parameters of the ``merge`` pass."""


class Pass(BasePass[MergedBuilderParams]):
    """Build the artifact from base and adapter."""

    Params = MergedBuilderParams
    consumes: ClassVar[Mapping[str, Kind]] = {"model": "checkpoint", "adapter": "adapter"}
    produces: ClassVar[Kind] = "onnx"
    runs_on: ClassVar[Literal["host", "target"]] = "target"
    added_by_planner: ClassVar[bool] = True

    def run(
        self, inputs: Inputs, params: MergedBuilderParams, out_dir: Path
    ) -> dict[str, JsonValue]:
        """Write the folder that ``onnxruntime_genai.Model`` loads; return the builder's options
        and, as ``merged``, the metrics of the merge."""
        from pipeline.builder.build import build
        from pipeline.builder.matrices import NotStreamable
        from pipeline.training.merged import NotMergeableByLayer
        from pipeline.training.merging import merge, merge_metrics, merged_one_by_one

        builder_params = ModelBuilderParams.model_validate(params.model_dump(exclude={"merge"}))
        try:
            weights = merged_one_by_one(inputs, params.merge)
            made = build(inputs["model"], out_dir, builder_params, inputs.report, weights.tensors)
            return {**made, "merged": merge_metrics(weights)}
        except (NotMergeableByLayer, NotStreamable) as reason:
            inputs.report.warn(f"merged and built in two steps: {reason}")
        for left in out_dir.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        checkpoint = out_dir / "merged"
        checkpoint.mkdir()
        merged = merge(inputs, params.merge, checkpoint)
        made = build(checkpoint, out_dir, builder_params, inputs.report)
        shutil.rmtree(checkpoint)
        return {**made, "merged": merged}
