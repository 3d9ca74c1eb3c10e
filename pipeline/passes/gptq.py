"""Rounds the weights of a checkpoint so that its own training texts notice it least."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import JsonValue

from pipeline.contract.kinds import Kind
from pipeline.contract.step import Inputs
from pipeline.passes.base import BasePass
from pipeline.training.gptq_params import GptqParams


class Pass(BasePass[GptqParams]):
    """Choose the integers of every matrix in the model's layers by GPTQ (arXiv 2210.17323), with
    the rows of the training part; the held-out part is not read. Used before ``model_builder``,
    which writes them instead of quantizing by itself. Embedding and output layer are left to it,
    and what ``mixed_precision`` keeps in int8. Without a data set, plain English that comes with
    Quern is looked at.
    """

    Params = GptqParams
    consumes: ClassVar[Mapping[str, Kind]] = {"model": "checkpoint"}
    may_consume: ClassVar[Mapping[str, Kind]] = {"widths": "widths"}
    produces: ClassVar[Kind] = "integers"
    uses_data: ClassVar[bool] = True
    data_optional: ClassVar[bool] = True
    trains: ClassVar[bool] = True
    resumes: ClassVar[bool] = True
    without_effect: ClassVar[tuple[str, ...]] = ("save_layers",)

    def run(self, inputs: Inputs, params: GptqParams, out_dir: Path) -> dict[str, JsonValue]:
        """Write a checkpoint in GPTQ's format; return the errors of its matrices."""
        from pipeline.training.gptq import round_model

        return round_model(inputs, params, out_dir)
