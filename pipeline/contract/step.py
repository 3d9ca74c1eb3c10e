"""What a step is given: its inputs, and where it says how far it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pydantic import JsonValue

if TYPE_CHECKING:
    from pipeline.contract.data_files import DataFiles


class Reporter(Protocol):
    """Where a step says how far it is; the chain turns it into events."""

    def progress(self, done: int, total: int, unit: str = "steps", **metrics: float) -> None:
        """Say that ``done`` of ``total`` units are complete, with the newest figures."""

    def warn(self, message: str) -> None:
        """Say something that the user should know and that does not stop the build."""

    def text(self, text: str) -> None:
        """Stream a piece of generated text."""


@dataclass(frozen=True)
class Inputs:
    """Everything a step may read, as local paths."""

    paths: Mapping[str, Path]
    """Folder or file per role (``model``, ``adapter``, ``artifact``, ...)."""
    data: DataFiles | None
    """Its parts are :func:`pipeline.data.parts.parts_of`."""
    seed: int
    threads: int
    report: Reporter
    metrics: Mapping[str, Mapping[str, JsonValue]] = field(default_factory=dict)
    """Metrics of the steps that made the inputs, per role."""
    absent_device: str = ""
    """Why the target's device cannot be used here; empty where it can."""
    unfinished: Path | None = None
    """A folder that outlives a run that fails or is killed, for a pass that ``resumes``."""

    def __getitem__(self, role: str) -> Path:
        return self.paths[role]
