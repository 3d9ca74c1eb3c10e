"""Scales the weights of a checkpoint so that rounding them changes less of what it computes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import JsonValue

from pipeline.contract.kinds import Kind
from pipeline.contract.step import Inputs
from pipeline.passes.base import BasePass
from pipeline.training.awq_params import AwqParams


class Pass(BasePass[AwqParams]):
    """Multiply columns of matrices by factors, and divide what makes their inputs by them, so that
    rounding the weights matters least for rows of the training part: AWQ (arXiv 2306.00978). The
    held-out part is not read. The model computes the same as before, which the check ``scaling``
    proves. ``model_builder`` rounds the weights afterwards, or ``gptq``; they are written in fp32.
    Without a data set, plain English that comes with Quern is looked at.
    """

    Params = AwqParams
    consumes: ClassVar[Mapping[str, Kind]] = {"model": "checkpoint"}
    produces: ClassVar[Kind] = "checkpoint"
    uses_data: ClassVar[bool] = True
    data_optional: ClassVar[bool] = True
    trains: ClassVar[bool] = True
    resumes: ClassVar[bool] = True
    keeps_function: ClassVar[bool] = True
    without_effect: ClassVar[tuple[str, ...]] = ("save_layers",)

    def run(self, inputs: Inputs, params: AwqParams, out_dir: Path) -> dict[str, JsonValue]:
        """Write a checkpoint; return the errors that its matrices will have."""
        from pipeline.training.awq import scale_model

        return scale_model(inputs, params, out_dir)
