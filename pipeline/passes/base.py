"""The base class of passes. Each pass is a module of this package with a class named ``Pass``.

A pass module imports no ML library at its top, because the host imports it to validate parameters
and to plan. ML libraries are imported inside :meth:`BasePass.run`, or in modules of
``pipeline.training`` and ``pipeline.onnx``.
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
    """One transformation: reads ``inputs``, writes ``out_dir``, returns its metrics."""

    Params: ClassVar[type[Frozen]]
    """The typed, documented parameters; every field is a key that a config may set."""
    consumes: ClassVar[Mapping[str, Kind]] = {}
    """The kind of each role that it reads; the planner connects it to the last output of the kind.
    """
    may_consume: ClassVar[Mapping[str, Kind]] = {}
    """The same for roles that it can do without: it reads what a pass made of the newest checkpoint
    before it."""
    produces: ClassVar[Kind]
    sources: ClassVar[tuple[str, ...]] = ()
    """Names of parameters that hold paths of the user's files or folders, relative to the config.
    ``inputs[NAME]`` is the path in the running process."""
    without_effect: ClassVar[tuple[str, ...]] = ()
    """Names of parameters that change nothing of its output, and so are not part of its key."""
    packages: ClassVar[str] = ""
    """The folder in ``images/`` with the packages that it needs beside those of its toolchain:
    :mod:`pipeline.process.packages`. For Quern's own only."""
    uses_data: ClassVar[bool] = False
    data_optional: ClassVar[bool] = False
    """Whether it also runs if the config has no data set."""
    heeds_constraint: ClassVar[bool] = False
    """Whether its result depends on the data set's ``constrain``, which is else not shown to it."""
    runs_on: ClassVar[Literal["host", "target"]] = "host"
    """Whether the toolchain of the host target runs it, or that of each target."""
    network: ClassVar[bool] = False
    """Whether it fetches from the hub, and so gets network access and the hub's token. For Quern's
    own passes only, not for the user's."""
    trains: ClassVar[bool] = False
    """Whether its output comes from training: reproducible on the same kind of CPU, but not in
    general on another."""
    added_by_planner: ClassVar[bool] = False
    """Whether it is added where it is needed; a config cannot name it."""
    enforces: ClassVar[tuple[str, ...]] = ()
    """Types of checks whose limits it enforces itself. They are in its parameter ``held_to``, by
    the names of the checks, and the inputs of these checks are among its own."""
    measures: ClassVar[bool] = False
    """Whether its output depends on times that it measures on the target's device, so that the same
    inputs can give different bytes."""
    resumes: ClassVar[bool] = False
    """Whether it can continue an interrupted run, from what that left in :attr:`Inputs.unfinished`.
    The folder is removed when the pass has finished."""

    @abstractmethod
    def run(self, inputs: Inputs, params: P, out_dir: Path) -> dict[str, JsonValue]:
        """Do the work, and return metrics for the report.

        ``out_dir`` exists and is empty; it is kept only if this returns. Raises
        :class:`~pipeline.contract.errors.StepError` for a reason that the user can act on.
        """
