"""Merges an adapter into its base."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import JsonValue

from pipeline.contract.kinds import Kind
from pipeline.contract.step import Inputs
from pipeline.passes.base import BasePass
from pipeline.training.merge_params import MergeParams


class Pass(BasePass[MergeParams]):
    """Merge an adapter into its base in fp32."""

    Params = MergeParams
    consumes: ClassVar[Mapping[str, Kind]] = {"model": "checkpoint", "adapter": "adapter"}
    produces: ClassVar[Kind] = "checkpoint"

    def run(self, inputs: Inputs, params: MergeParams, out_dir: Path) -> dict[str, JsonValue]:
        """Write a checkpoint folder with the base's tokenizer and generation config."""
        from pipeline.training.merging import merge

        return merge(inputs, params, out_dir)
