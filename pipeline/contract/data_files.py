"""A data set as it lies for the process that reads it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.contract.data_spec import DataSpec

ROWS_FILE = "rows.jsonl"
"""What the ``rows`` pass writes: one JSON object per row."""


@dataclass(frozen=True)
class DataFiles:
    """Where the rows are, how they are read, and the data sets that are parts of this one."""

    name: str
    spec: DataSpec
    files: tuple[Path, ...]
    made: bool = False
    """Whether a step made the rows; their lines are then row numbers."""
    held_out: DataFiles | None = None
    validation: DataFiles | None = None

    @property
    def validation_spec(self) -> DataSpec:
        """Return how the rows of the validation part are read."""
        if self.validation is not None:
            return self.validation.spec
        if self.held_out is not None and self.spec.split.validation == "eval":
            return self.held_out.spec
        return self.spec
