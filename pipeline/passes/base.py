"""What a pass is. One module of this package per pass, each with one class named ``Pass``.

A pass module imports no ML library at its top: the host imports it to validate parameters and to
plan. What it needs of torch and friends it imports inside :meth:`BasePass.run`, or keeps in
``pipeline.training`` / ``pipeline.onnx``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Generic, Literal, Protocol, TypeVar, runtime_checkable

from pydantic import JsonValue

from pipeline.data.files import DataFiles
from pipeline.data.spec import DataSpec
from pipeline.model import Frozen
from pipeline.plan import Kind

P = TypeVar("P", bound=Frozen)


@runtime_checkable
class NeedsOfData(Protocol):
    """Parameters that not every data set can serve."""

    def problems_with(self, spec: DataSpec) -> list[str]:
        """Return what of these parameters the data set cannot serve, and what to do."""


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


class BasePass(ABC, Generic[P]):
    """One transformation: reads ``inputs``, writes ``out_dir``, returns its figures."""

    Params: ClassVar[type[Frozen]]
    """The typed, documented parameters; every field is a key a config may set."""
    consumes: ClassVar[Mapping[str, Kind]] = {}
    """Roles it reads and the kind of each: the planner wires the newest output of that kind."""
    produces: ClassVar[Kind]
    sources: ClassVar[tuple[str, ...]] = ()
    """Parameters that each are the path of a file or folder of the user's, relative to the config;
    ``inputs[parameter]`` is where it lies for the running process."""
    uses_data: ClassVar[bool] = False
    does_without_data: ClassVar[bool] = False
    """Whether it also runs where the config has no data set."""
    runs_on: ClassVar[Literal["host", "target"]] = "host"
    """Whose toolchain runs it: the host target's, or each target's own."""
    network: ClassVar[bool] = False
    """Whether Quern's own code in it fetches from the hub: it gets the network and the hub's token.
    One of the user's own cannot ask for it."""
    trains: ClassVar[bool] = False
    """Whether its bytes come from training: the same again on the same kind of CPU, and on another
    one only by luck."""
    by_itself: ClassVar[bool] = False
    """Whether the planner puts it where it is needed; a config cannot name it."""
    keeps: ClassVar[tuple[str, ...]] = ()
    """Types of checks whose limits it keeps by itself: they come in its parameter ``held_to``, by
    the names of the checks, and what they need is among its inputs."""
    measures: ClassVar[bool] = False
    """Whether what it makes follows from times that it measures on the target's device: other
    bytes, the same inputs or not."""
    resumes: ClassVar[bool] = False
    """Whether it goes on where an earlier run of it ended, by what that left in
    :attr:`Inputs.unfinished`. The folder is its own until it is done, and then removed."""

    @abstractmethod
    def run(self, inputs: Inputs, params: P, out_dir: Path) -> dict[str, JsonValue]:
        """Do the work. ``out_dir`` exists and is empty; it is kept only if this returns."""


class StepError(Exception):
    """A step cannot go on, for a reason the user can act on."""

    def __init__(self, message: str, hint: str = "", cause: str = "error") -> None:
        super().__init__(message)
        self.hint = hint
        self.cause = cause
