"""Chooses which matrices are kept in int8 where all others are rounded to int4."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import JsonValue

from pipeline.contract.kinds import Kind
from pipeline.contract.step import Inputs
from pipeline.passes.base import BasePass
from pipeline.training.mixed_params import MixedPrecisionParams


class Pass(BasePass[MixedPrecisionParams]):
    """Choose which matrices ``model_builder`` keeps in int8: those whose rounding costs most, with
    the rows of the training part; the held-out part is not read. Used before ``model_builder``, and
    before ``gptq``, which then rounds the others only. Without a data set, plain English that comes
    with Quern is looked at.
    """

    Params = MixedPrecisionParams
    consumes: ClassVar[Mapping[str, Kind]] = {"model": "checkpoint"}
    produces: ClassVar[Kind] = "widths"
    uses_data: ClassVar[bool] = True
    data_optional: ClassVar[bool] = True
    trains: ClassVar[bool] = True
    resumes: ClassVar[bool] = True
    without_effect: ClassVar[tuple[str, ...]] = ("save_layers",)

    def run(
        self, inputs: Inputs, params: MixedPrecisionParams, out_dir: Path
    ) -> dict[str, JsonValue]:
        """Write the widths (:mod:`pipeline.weights.widths`); return what decided them."""
        from pipeline.training.mixed_precision import choose_widths

        return choose_widths(inputs, params, out_dir)
