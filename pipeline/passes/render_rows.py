"""Renders and counts the rows of a data set as a training step would; the pass behind ``plan``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, JsonValue

from pipeline.contract.frozen import Frozen
from pipeline.contract.kinds import Kind
from pipeline.contract.step import Inputs
from pipeline.passes.base import BasePass


class RenderRowsParams(Frozen):
    """What the training step does with rows that are too long."""

    max_length: int = Field(ge=8)
    too_long: Literal["drop", "cut", "error"] = "drop"
    every: int = Field(default=1, ge=1)
    """Take only every n-th row of each part."""


class Pass(BasePass[RenderRowsParams]):
    """Show what a model would be trained on. Loads its tokenizer, and runs no code beside it."""

    Params = RenderRowsParams
    consumes: ClassVar[Mapping[str, Kind]] = {"model": "checkpoint"}
    produces: ClassVar[Kind] = "predictions"
    uses_data: ClassVar[bool] = True
    added_by_planner: ClassVar[bool] = True

    def run(
        self,
        inputs: Inputs,
        params: RenderRowsParams,
        out_dir: Path,  # noqa: ARG002 - it writes nothing
    ) -> dict[str, JsonValue]:
        """Return a :class:`pipeline.data.trained_view.TrainedView`, and write nothing."""
        from pipeline.data.tokenize import Codec
        from pipeline.data.tokenizer import load_tokenizer
        from pipeline.data.trained_view import METRIC
        from pipeline.training.prepared_rows import prepare_rows

        codec = Codec(load_tokenizer(inputs["model"]))
        view = prepare_rows(inputs, codec, params, params.every).view
        return {METRIC: view.model_dump(mode="json")}
