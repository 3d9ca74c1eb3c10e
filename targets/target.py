"""What a target is: one TOML file each in this folder, read into a :class:`Target`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import tomli
from pydantic import Field, JsonValue

from pipeline.model import Frozen
from pipeline.suggest import did_you_mean
from targets.errors import ConfigError, Problem
from targets.toolchain.toolchain import Toolchain

TARGETS_DIR = Path(__file__).parent
IMAGES_DIR = TARGETS_DIR.parent / "images"


class Precision(Frozen):
    """Precisions the model builder may be asked for."""

    default: str
    allowed: tuple[str, ...]


class Target(Frozen):
    """What an artifact runs on: toolchain, execution provider, precision rules, limits."""

    name: str
    description: str
    execution_provider: str
    """As the model builder calls it: ``cpu``, ``cuda``, ``dml``."""
    device: Literal["cpu", "cuda", "directml"]
    image: str
    """Folder below ``images/`` that holds the toolchain."""
    python: str
    platforms: tuple[str, ...]
    """Docker platforms for which there is a lock."""
    precision: Precision
    environment: dict[str, str] = Field(default_factory=dict)
    limits: dict[str, JsonValue] = Field(default_factory=dict)
    """Default limits of the ``latency`` check."""

    def toolchain(self, platform: str = "linux/amd64") -> Toolchain:
        """Return the pinned toolchain for ``platform``."""
        return Toolchain(
            target=self.name,
            platform=platform,
            python=self.python,
            image_dir=IMAGES_DIR / self.image,
            environment=self.environment,
        )

    def builder_params(self) -> Mapping[str, JsonValue]:
        """Return the parameters that this target decides for ``model_builder``."""
        return {
            "execution_provider": self.execution_provider,
            "precision": self.precision.default,
        }


def target_names() -> tuple[str, ...]:
    """Return the names of all targets, sorted."""
    return tuple(sorted(path.stem for path in TARGETS_DIR.glob("*.toml")))


def load_target(name: str) -> Target:
    """Return the target ``name``. Raises :class:`ConfigError` with the nearest name."""
    path = TARGETS_DIR / f"{name}.toml"
    if name not in target_names():
        raise ConfigError(
            [Problem(f"unknown target '{name}'", suggestion=did_you_mean(name, target_names()))]
        )
    return Target(name=name, **tomli.loads(path.read_text(encoding="utf-8")))
