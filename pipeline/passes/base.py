"""What a pass is. One module of this package per pass, each with one class named ``Pass``.

A pass module imports no ML library at its top: the host imports it to validate parameters and to
plan. What it needs of torch and friends it imports inside :meth:`BasePass.run`, or keeps in
``pipeline.training`` / ``pipeline.onnx``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Generic, Literal, TypeVar

from pydantic import JsonValue

from pipeline.contract.frozen import Frozen
from pipeline.contract.kinds import Kind
from pipeline.contract.step import Inputs

P = TypeVar("P", bound=Frozen)


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
