"""The interface of runtimes, which run ``python -m pipeline PLAN`` with a toolchain."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal, Protocol, TypeAlias

from pipeline.contract.plan import Plan
from pipeline.contract.schema import Resources
from targets.disk import Need
from targets.toolchain.toolchain import Toolchain, ToolchainRecord

if TYPE_CHECKING:
    from pipeline.contract.events import Event

OnEvent: TypeAlias = "Callable[[Event], None]"

RuntimeName = Literal["docker", "venv"]

PLACES: Mapping[str, str] = {"docker": "containers", "venv": "a virtual environment"}
"""Where the steps of each runtime run, in words."""


@dataclass(frozen=True)
class Mount:
    """A file or folder of this machine under a root name of the plan.

    For a file, the root is the folder that holds it (only that file is visible there in a
    container) and the plan's path is its name.
    """

    root: str
    source: Path
    writable: bool = False


@dataclass(frozen=True)
class ProcessLimits:
    """Limits for the process. ``None`` means no limit."""

    memory_bytes: int | None = None
    cpus: float | None = None
    step_seconds: float = Resources().step_hours * 3600
    """Time that one of its steps may take."""
    portable: bool = True
    """Whether it uses only the instruction sets that the toolchain allows, so that every CPU gives
    the same bytes."""


@dataclass(frozen=True)
class RunRequest:
    """One process to run: the plan (only steps that are not cached), its mounts and limits."""

    plan: Plan
    mounts: tuple[Mount, ...]
    log: Path
    """File on this machine for the output of libraries."""
    network: bool = False
    device: Mapping[str, object] = field(default_factory=dict)
    """Options that give a container the device: :attr:`targets.devices.device.Device.container`."""
    visible: Mapping[str, str] = field(default_factory=dict)
    """Variables that show the process that device alone:
    :attr:`targets.devices.device.Device.environment`."""
    resources: ProcessLimits = ProcessLimits()
    environment: Mapping[str, str] = field(default_factory=dict)
    """Extra variables, e.g. a hub token for ``fetch``. Never logged, never in a report."""
    stdin: IO[bytes] | None = None
    """A pipe whose content the process reads as its standard input; ``None`` for none."""
    may_stay: frozenset[str] = frozenset()
    """Keys of the steps whose outputs need not come to this machine, if another one makes them."""
    writes: int = 0
    """Bytes that it will write, as far as that is known."""
    tell: Callable[[str], None] = lambda _words: None
    """Gets what the report should say of the run, if anything."""

    @property
    def step_names(self) -> tuple[str, ...]:
        """Return the names of the steps, in order."""
        return tuple(step.name for step in self.plan.steps)


class Runtime(Protocol):
    """Runs plans with a toolchain."""

    name: RuntimeName

    def prepare(self, toolchain: Toolchain, say: Callable[[str], None]) -> ToolchainRecord:
        """Make the toolchain ready (wheels, image or environment); ``say`` gets progress lines.

        Raises ``EnvironmentUnable``.
        """

    def needs(self, toolchain: Toolchain) -> tuple[Need, ...]:
        """Return the disk space for making the toolchain ready; none if it is ready."""

    def run(self, toolchain: Toolchain, request: RunRequest, on_event: OnEvent) -> None:
        """Run ``python -m pipeline PLAN`` and call ``on_event`` with every event.

        Returns when the process has succeeded. Raises ``PassFailed``, ``EnvironmentUnable`` or
        ``Interrupted``; the process and all of its children have ended by then.
        """

    def limits_note(self) -> str:
        """Return which limits this runtime cannot enforce; empty if it enforces all."""


StartRuntime = Callable[[Sequence[Toolchain]], Runtime]
"""A function that returns the runtime for these toolchains; called only if a step must run."""
