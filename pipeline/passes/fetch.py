"""Downloads a model from the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import JsonValue

from pipeline.contract.kinds import Kind
from pipeline.contract.step import Inputs
from pipeline.passes.base import BasePass
from pipeline.training.base_params import FetchParams


class Pass(BasePass[FetchParams]):
    """Download a checkpoint at a fixed commit."""

    Params = FetchParams
    produces: ClassVar[Kind] = "checkpoint"
    network: ClassVar[bool] = True

    def run(self, inputs: Inputs, params: FetchParams, out_dir: Path) -> dict[str, JsonValue]:
        """Write the repository's files; return their number and size."""
        from pipeline.training.hub import fetch

        return fetch(params, inputs.report, out_dir)
