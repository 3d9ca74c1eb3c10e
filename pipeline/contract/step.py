"""The arguments of a step: its inputs, and the reporter of its progress."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from pydantic import JsonValue

if TYPE_CHECKING:
    from pipeline.contract.data_files import DataFiles
    from pipeline.contract.events import Reply


class Reporter(Protocol):
    """Receives the progress of a step; the chain turns it into events."""

    def progress(self, done: int, total: int, unit: str = "steps", **metrics: float) -> None:
        """Report that ``done`` of ``total`` units are complete, with the newest figures."""

    def warn(self, message: str) -> None:
        """Report something that the user should know and that does not stop the build."""

    def note(self, message: str) -> None:
        """Report a fact of the work that asks for nothing."""

    def text(self, text: str) -> None:
        """Stream a piece of generated text."""


@runtime_checkable
class Replier(Protocol):
    """A reporter that also answers requests."""

    def reply(self, reply: Reply) -> None:
        """Stream a piece of the answer to a request."""


@dataclass(frozen=True)
class Inputs:
    """Everything a step may read, as local paths."""

    paths: Mapping[str, Path]
    """Folder or file per role (``model``, ``adapter``, ``artifact``, ...)."""
    data: DataFiles | None
    """The data set; :func:`pipeline.data.parts.parts_of` reads its parts."""
    seed: int
    threads: int
    report: Reporter
    metrics: Mapping[str, Mapping[str, JsonValue]] = field(default_factory=dict)
    """Metrics of the steps that made the inputs, per role."""
    absent_device: str = ""
    """Why the target's device cannot be used here; empty if it can."""
    emulation: str = ""
    """What runs the target's provider on the CPU in place of the device; empty for nothing."""
    unfinished: Path | None = None
    """A folder that is kept after a failed or killed run, for a pass that ``resumes``."""

    def __getitem__(self, role: str) -> Path:
        return self.paths[role]
