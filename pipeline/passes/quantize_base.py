"""Quantizes the base of QLoRA trainings; those with the same base and 4-bit format share it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import JsonValue

from pipeline.contract.kinds import Kind
from pipeline.contract.step import Inputs
from pipeline.passes.base import BasePass
from pipeline.training.kept_base_params import KeptBaseParams


class Pass(BasePass[KeptBaseParams]):
    """Quantize the base to 4 bits as bitsandbytes does, and write it as transformers does."""

    Params = KeptBaseParams
    consumes: ClassVar[Mapping[str, Kind]] = {"model": "checkpoint"}
    produces: ClassVar[Kind] = "quantized"
    added_by_planner: ClassVar[bool] = True

    def run(self, inputs: Inputs, params: KeptBaseParams, out_dir: Path) -> dict[str, JsonValue]:
        """Write the checkpoint; return how many layers are quantized."""
        from pipeline.training.four_bit_base import keep

        return keep(inputs, params, out_dir)
