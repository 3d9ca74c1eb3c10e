"""The files of a data set, with the paths that they have in the process that reads them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.contract.data_spec import DataSpec

ROWS_FILE = "rows.jsonl"
"""Name of the file that the ``rows`` pass writes: one JSON object per row."""


@dataclass(frozen=True)
class DataFiles:
    """The files of a data set, how they are read, and the data sets that serve as its parts."""

    name: str
    spec: DataSpec
    files: tuple[Path, ...]
    made: bool = False
    """Whether a step made the rows. In messages, their lines are then row numbers."""
    held_out: DataFiles | None = None
    validation: DataFiles | None = None

    @property
    def validation_spec(self) -> DataSpec:
        """Return the specification by which the rows of the validation part are read."""
        if self.validation is not None:
            return self.validation.spec
        if self.held_out is not None and self.spec.split.validation == "eval":
            return self.held_out.spec
        return self.spec
