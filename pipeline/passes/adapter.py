"""What the passes that fine-tune an adapter have in common; they differ in their parameters."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, TypeVar

from pydantic import JsonValue

from pipeline.contract.kinds import Kind
from pipeline.contract.step import Inputs
from pipeline.passes.base import BasePass
from pipeline.training.params import FinetuneParams

P = TypeVar("P", bound=FinetuneParams)


class AdapterPass(BasePass[P]):
    """Trains on the training part of the data; the held-out part is not touched."""

    consumes: ClassVar[Mapping[str, Kind]] = {"model": "checkpoint"}
    produces: ClassVar[Kind] = "adapter"
    uses_data: ClassVar[bool] = True
    trains: ClassVar[bool] = True
    resumes: ClassVar[bool] = True
    without_effect: ClassVar[tuple[str, ...]] = ("save_steps",)

    def run(self, inputs: Inputs, params: P, out_dir: Path) -> dict[str, JsonValue]:
        """Write a PEFT adapter folder, which also says how the base was quantized if it was; return
        losses, speed and row counts."""
        from pipeline.training.ranks import train

        return train(inputs, params, out_dir)
