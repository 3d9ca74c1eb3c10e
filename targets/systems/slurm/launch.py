"""How a job starts its process, and where that sees what is on the node."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from targets.runtimes.runtime import RuntimeName
from targets.systems.system import Say
from targets.toolchain.toolchain import Toolchain, ToolchainRecord

Free = Callable[[], int]
"""Returns the free bytes of the shared folder."""


@dataclass(frozen=True)
class Launch:
    """A command, as a job gives it."""

    before: tuple[str, ...]
    """What stands before the process: the container; nothing for a virtual environment."""
    python: str
    """The interpreter, as the process sees it."""
    present: str
    """A file or folder that the node must see."""
    job: str
    """Where the process sees the folder of the job."""
    inputs: str
    """Where it sees the inputs."""


class Enclosure(Protocol):
    """What steps run in on a cluster: containers, or a virtual environment."""

    @property
    def runtime(self) -> RuntimeName:
        """Return its kind."""

    @property
    def lacks(self) -> tuple[str, ...]:
        """Return what it does not enforce, in words."""

    def words(self, toolchain: Toolchain) -> str:
        """Return whether it is there, or where it comes from. Raises ``EnvironmentUnable``."""

    def prepare(self, toolchain: Toolchain, say: Say) -> ToolchainRecord:
        """Have it there. Raises ``EnvironmentUnable``."""

    def launch(self, toolchain: Toolchain, job: str, inputs: str, gpu: bool) -> Launch:
        """Return how a job in the folder ``job`` starts its process; with a GPU, if ``gpu``."""
