"""Fine-tunes with a low-rank adapter that begins as what 4 bits lose."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import JsonValue

from pipeline.contract.kinds import Kind
from pipeline.contract.step import Inputs
from pipeline.passes.base import BasePass
from pipeline.training.params import LoftqParams


class Pass(BasePass[LoftqParams]):
    """Train a LoRA adapter over a 4-bit base, both fitted to the weights before the first step."""

    Params = LoftqParams
    consumes: ClassVar[Mapping[str, Kind]] = {"model": "checkpoint"}
    produces: ClassVar[Kind] = "adapter"
    uses_data: ClassVar[bool] = True
    trains: ClassVar[bool] = True

    def run(self, inputs: Inputs, params: LoftqParams, out_dir: Path) -> dict[str, JsonValue]:
        """Write a PEFT adapter folder that also says how the base was quantized and fitted."""
        from pipeline.training.finetune import finetune

        return finetune(inputs, params, out_dir)
