"""Makes the rows of a data set that the host cannot read: fetched, made by code, or Parquet."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import JsonValue

from pipeline.data.make import RowsParams
from pipeline.passes.base import BasePass, Inputs
from pipeline.plan import Kind


class Pass(BasePass[RowsParams]):
    """Load rows, let functions of the user's change them, and write them as JSON Lines."""

    Params = RowsParams
    produces: ClassVar[Kind] = "rows"
    sources: ClassVar[tuple[str, ...]] = ("script", "script_dir")

    def run(self, inputs: Inputs, params: RowsParams, out_dir: Path) -> dict[str, JsonValue]:
        """Write ``rows.jsonl``; return how many rows and which columns it has."""
        from pipeline.data.make import make_rows

        return make_rows(inputs, params, out_dir)
