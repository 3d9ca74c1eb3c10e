"""Fine-tunes with a low-rank adapter."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import JsonValue

from pipeline.contract.kinds import Kind
from pipeline.contract.step import Inputs
from pipeline.passes.base import BasePass
from pipeline.training.params import LoraParams


class Pass(BasePass[LoraParams]):
    """Train a LoRA adapter on the training part; the held-out part is not touched."""

    Params = LoraParams
    consumes: ClassVar[Mapping[str, Kind]] = {"model": "checkpoint"}
    produces: ClassVar[Kind] = "adapter"
    uses_data: ClassVar[bool] = True
    trains: ClassVar[bool] = True

    def run(self, inputs: Inputs, params: LoraParams, out_dir: Path) -> dict[str, JsonValue]:
        """Write a PEFT adapter folder; return losses, speed and row counts."""
        from pipeline.training.finetune import finetune

        return finetune(inputs, params, out_dir)
