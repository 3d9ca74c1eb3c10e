"""Downloads the rows of a data set from the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import JsonValue

from pipeline.contract.kinds import Kind
from pipeline.contract.step import Inputs
from pipeline.data.hub import FetchRowsParams
from pipeline.passes.base import BasePass


class Pass(BasePass[FetchRowsParams]):
    """Download one part of a data set at a fixed commit."""

    Params = FetchRowsParams
    produces: ClassVar[Kind] = "rows"
    network: ClassVar[bool] = True

    def run(self, inputs: Inputs, params: FetchRowsParams, out_dir: Path) -> dict[str, JsonValue]:  # noqa: ARG002 - it reads the hub alone
        """Write the rows as one Parquet file; return their number."""
        from pipeline.data.hub import fetch_rows

        return fetch_rows(params, out_dir)
