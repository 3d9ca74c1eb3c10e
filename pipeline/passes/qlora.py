"""Fine-tunes with a low-rank adapter over a 4-bit base."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import JsonValue

from pipeline.contract.kinds import Kind
from pipeline.contract.step import Inputs
from pipeline.passes.base import BasePass
from pipeline.training.params import QloraParams


class Pass(BasePass[QloraParams]):
    """Train a LoRA adapter over the base quantized by bitsandbytes."""

    Params = QloraParams
    consumes: ClassVar[Mapping[str, Kind]] = {"model": "checkpoint"}
    produces: ClassVar[Kind] = "adapter"
    uses_data: ClassVar[bool] = True
    trains: ClassVar[bool] = True

    def run(self, inputs: Inputs, params: QloraParams, out_dir: Path) -> dict[str, JsonValue]:
        """Write a PEFT adapter folder that also says how the base was quantized."""
        from pipeline.training.finetune import finetune

        return finetune(inputs, params, out_dir)
