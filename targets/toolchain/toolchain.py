"""The definition of a toolchain: the pinned software of a target on one platform."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pipeline.contract.frozen import Frozen
from pipeline.contract.sha256 import sha256_of_bytes, sha256_of_file


class Room(Frozen):
    """Approximate disk space of a toolchain, in gigabytes."""

    wheels: float = 0
    """Size of all wheels of the lock."""
    installed: float = 0
    """Size of an environment or image with them."""


@dataclass(frozen=True)
class Toolchain:
    """A target's hash-locked wheels and the environment they run in."""

    target: str
    platform: str
    """Docker's name of the platform: ``linux/amd64``."""
    python: str
    """Minor version of its Python: ``3.11``."""
    image_dir: Path
    """Folder with the requirements and one lock per platform."""
    environment: Mapping[str, str]
    """Environment variables that affect results, e.g. limits of instruction sets."""
    requirements: str = "requirements.in"
    """File in ``image_dir`` that the lock is made from."""
    parent: Toolchain | None = None
    """The toolchain whose image this one's image is built on, as others are too: whatever its lock
    pins, this lock pins as well."""
    room: Room = field(default_factory=Room)

    @property
    def lock(self) -> Path:
        """Return the hash-locked requirements of this platform."""
        return self.image_dir / f"requirements.{self.platform.replace('/', '-')}.lock"

    @property
    def requirement_files(self) -> tuple[Path, ...]:
        """Return the files that the lock is made from, those of the parent first."""
        inherited = () if self.parent is None else self.parent.requirement_files
        return (*inherited, self.image_dir / self.requirements)

    @property
    def files_lock(self) -> Path:
        """Return the lock of the files that it has beside its wheels; most have none."""
        return self.image_dir / f"files.{self.platform.replace('/', '-')}.lock"

    @cached_property
    def digest(self) -> str:
        """Return SHA-256 over locks, Python version, platform and environment.

        It is part of every pass key, and deliberately independent of the runtime: docker and venv
        share one cache.
        """
        files = self.files_lock
        facts = {
            "lock": sha256_of_file(self.lock),
            **({"files": sha256_of_file(files)} if files.exists() else {}),
            "python": self.python,
            "platform": self.platform,
            "environment": dict(sorted(self.environment.items())),
        }
        return sha256_of_bytes(json.dumps(facts, sort_keys=True).encode())


@dataclass(frozen=True)
class ToolchainRecord:
    """The toolchain that was used, for the report."""

    digest: str
    runtime: str
    python: str
    base_image: str = ""
    """Reference with digest, or the recorded bootstrap; empty for a virtual environment."""
    image: str = ""
    details: Mapping[str, str] | None = None
    system: str = ""
    """The system that has it; empty if it is this machine."""
    cpu: str = ""
    """The CPU of that system."""
    cores: int | None = None
    """How many CPUs it has; ``None`` for this machine."""
    unconfined: str = ""
    """What that system, or the engine here, does not enforce, in words."""
