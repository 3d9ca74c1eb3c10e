"""What a system is asked to do: things are named by their digests, places only as roots."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import Field, JsonValue

from pipeline.contract.frozen import Frozen
from pipeline.contract.plan import Plan
from pipeline.contract.sha256 import sha256_of_bytes
from targets.systems.tree import Tree

_ID_DIGITS = 12


class Input(Frozen):
    """Files that steps read, below a root of the plan."""

    root: str
    path: str = ""
    """Where below the root; empty if they are the root."""
    digest: str
    """That of the :class:`~targets.systems.tree.Tree`."""


class Limits(Frozen):
    """What the job may use; ``None`` is no limit."""

    memory_bytes: int | None = None
    cpus: float | None = None
    step_seconds: float


class Task(Frozen):
    """One process of a build, as a system is asked to run it."""

    plan: Plan
    """Its roots are empty: only the job knows them (``python -m pipeline PLAN --root``)."""
    toolchain: str
    """Digest of the toolchain, whose image the system has by then."""
    environment: dict[str, str] = Field(default_factory=dict)
    """Variables that results depend on."""
    code: str
    """Digest of ``pipeline/``."""
    inputs: tuple[Input, ...] = ()
    network: bool = False
    device: dict[str, JsonValue] = Field(default_factory=dict)
    limits: Limits
    writes: int = 0
    """Bytes that its steps will write, as far as that is known."""
    secrets: tuple[str, ...] = ()
    """Names of variables that only the process gets to see."""

    @property
    def digest(self) -> str:
        """Return the SHA-256 of what decides what is made."""
        plan = self.plan.model_copy(update={"origin": {}})
        same = self.model_copy(update={"plan": plan, "writes": 0})
        return sha256_of_bytes(same.model_dump_json().encode())

    def job_id(self, owner: str) -> str:
        """Return the ID of the job that does this for ``owner``: asked twice, it is the same."""
        return sha256_of_bytes(f"{owner} {self.digest}".encode())[:_ID_DIGITS]

    @property
    def longest_seconds(self) -> float:
        """Return how long its steps may take, all together."""
        return len(self.plan.steps) * self.limits.step_seconds


@dataclass(frozen=True)
class Material:
    """What a task names: the files by digest, and the values of its secrets."""

    trees: Mapping[str, Tree]
    secrets: Mapping[str, str]
