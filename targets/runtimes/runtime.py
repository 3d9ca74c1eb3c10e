"""What a runtime is: how a toolchain is brought to life to run ``python -m pipeline PLAN``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from pipeline.contract.events import Event
from pipeline.contract.plan import Plan
from targets.disk import Need
from targets.toolchain.toolchain import Toolchain, ToolchainRecord

OnEvent = Callable[[Event], None]

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
class Resources:
    """Limits for the process. ``None`` means: all the machine has."""

    memory_bytes: int | None = None
    cpus: float | None = None


@dataclass(frozen=True)
class RunRequest:
    """One process to run: the plan (only steps that are not cached), its mounts and limits."""

    plan: Plan
    mounts: tuple[Mount, ...]
    log: Path
    """Where library chatter goes on this machine."""
    network: bool = False
    device: Mapping[str, object] = field(default_factory=dict)
    """What gives a container the device: :attr:`targets.devices.device.Device.container`."""
    resources: Resources = Resources()
    environment: Mapping[str, str] = field(default_factory=dict)
    """Extra variables, e.g. a hub token for ``fetch``. Never logged, never in a report."""


class Runtime(Protocol):
    """Brings a toolchain to life."""

    name: RuntimeName

    def prepare(self, toolchain: Toolchain, say: Callable[[str], None]) -> ToolchainRecord:
        """Make the toolchain ready (wheels, image or environment); ``say`` gets progress lines.

        Raises ``EnvironmentUnable``.
        """

    def needs(self, toolchain: Toolchain) -> tuple[Need, ...]:
        """Return the room that making the toolchain ready takes; none where it is ready."""

    def run(self, toolchain: Toolchain, request: RunRequest, on_event: OnEvent) -> None:
        """Run ``python -m pipeline PLAN`` and hand every event to ``on_event``.

        Returns when the process ended well. Raises ``PassFailed``, ``EnvironmentUnable`` or
        ``Interrupted``; the process and all it started are gone by then.
        """

    def limits_note(self) -> str:
        """Return what this runtime cannot enforce, or an empty string."""


StartRuntime = Callable[[Sequence[Toolchain]], Runtime]
"""Returns the runtime for steps of these toolchains. Called only when there is something to run."""
