"""Fine-tunes all weights, without an adapter."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import JsonValue

from pipeline.contract.kinds import Kind
from pipeline.contract.step import Inputs
from pipeline.passes.base import BasePass
from pipeline.training.full_params import FullFinetuneParams


class Pass(BasePass[FullFinetuneParams]):
    """Train all weights on the training part of the data; the held-out part is not touched."""

    Params = FullFinetuneParams
    consumes: ClassVar[Mapping[str, Kind]] = {"model": "checkpoint"}
    produces: ClassVar[Kind] = "checkpoint"
    uses_data: ClassVar[bool] = True
    trains: ClassVar[bool] = True
    resumes: ClassVar[bool] = True
    without_effect: ClassVar[tuple[str, ...]] = ("save_steps",)

    def run(
        self, inputs: Inputs, params: FullFinetuneParams, out_dir: Path
    ) -> dict[str, JsonValue]:
        """Write a checkpoint folder; return losses, speed and row counts."""
        from pipeline.training.ranks import train

        return train(inputs, params, out_dir)
