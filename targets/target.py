"""Targets, each defined by a TOML file in this folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import tomli
from pydantic import Field, JsonValue, ValidationError, field_validator

from pipeline.builder.supported import Supported
from pipeline.contract.frozen import Frozen
from pipeline.contract.suggest import did_you_mean
from pipeline.latency.default_limits import DefaultLimits
from targets.devices.find import device_kinds
from targets.errors import ConfigError, EnvironmentUnable, Problem
from targets.toolchain.builder_options import read_builder_options
from targets.toolchain.toolchain import Room, Toolchain

TARGETS_DIR = Path(__file__).parent
IMAGES_DIR = TARGETS_DIR.parent / "images"

LOCAL = "local"
"""The value of ``--system`` that always means this machine, and so the name of no target."""
DEFAULT_TARGET = "cpu"
"""The target if neither command nor config names one; it also trains if there is no GPU."""

ALL = "all"
"""The name that stands for all targets."""


class Precision(Frozen):
    """Precisions that the model builder can build for a target."""

    default: str
    allowed: tuple[str, ...]
    float_export: str
    """Precision of the export with which quantized artifacts are compared."""


class PlatformRules(Frozen):
    """Settings of one platform of a target."""

    requirements: str = "requirements.in"
    """File in the image folder from which this platform's lock is made."""
    builds: bool = True
    """Whether artifacts can be built there; if not, the toolchain only runs checks."""
    environment: dict[str, str] = Field(default_factory=dict)
    """Environment variables that affect results, e.g. limits of instruction sets."""


class Target(Frozen):
    """What an artifact runs on: toolchain, execution provider, precision rules, limits."""

    name: str
    description: str
    execution_provider: str
    """The model builder's name of the execution provider: ``cpu``, ``cuda``, ``dml``,
    ``webgpu``."""
    device: str
    """The device that runs the artifact: the name of a module of ``targets/devices/``."""
    trains: bool = False
    """Whether training is faster on its device than on the CPU, so that it is the default host
    target on machines with the device."""
    image: str
    """Folder below ``images/`` that holds the toolchain."""
    parent: str | None = None
    """Folder below ``images/`` with what the toolchains of several targets have in common, so that
    it is installed once; none where artifacts are not built."""
    python: str
    platforms: dict[str, PlatformRules]
    """Platforms by Docker's names; there is a lock for each."""
    room: Room
    precision: Precision
    builder: dict[str, JsonValue] = Field(default_factory=dict)
    """Parameters of the pass ``model_builder`` that are other than usual for this target."""
    browsers: bool = False
    """Whether browsers run its artifacts, so that ``use/`` has a page that does."""
    separate_adapters: bool = False
    """Whether its runtime takes an adapter beside the model, and checks prove it."""
    limits: DefaultLimits
    """Default limits of the ``latency`` check."""

    @field_validator("device")
    @classmethod
    def _known_device(cls, kind: str) -> str:
        if kind not in device_kinds():
            hint = did_you_mean(kind, device_kinds())
            raise ValueError(f"targets/devices/ has no {kind}.py; {hint}")
        return kind

    def toolchain(self, platform: str) -> Toolchain:
        """Return the pinned toolchain for ``platform``.

        Raises :class:`EnvironmentUnable` that lists the platforms if it has none for this one.
        """
        rules = self.platforms.get(platform)
        if rules is None:
            in_containers = ": `--runtime docker`" if platform.startswith("windows/") else ""
            building = (name for name, rules in self.platforms.items() if rules.builds)
            raise EnvironmentUnable(
                f"there is no {self.name} toolchain for {platform}",
                f"build it on {' or '.join(building)}{in_containers}",
            )
        parent = None
        if self.parent is not None and rules.builds:
            folder = IMAGES_DIR / self.parent
            parent = Toolchain(self.parent, platform, self.python, folder, environment={})
        return Toolchain(
            target=self.name,
            platform=platform,
            python=self.python,
            image_dir=IMAGES_DIR / self.image,
            environment=rules.environment,
            requirements=rules.requirements,
            parent=parent,
            room=self.room,
        )

    def builder_options(self) -> frozenset[str]:
        """Return the ``extra_options`` that the locked model builder knows."""
        return frozenset(read_builder_options(IMAGES_DIR / self.image).options)

    def supported_models(self) -> Supported:
        """Return which models the locked model builder can build."""
        return read_builder_options(IMAGES_DIR / self.image).supported

    def builder_params(self) -> Mapping[str, JsonValue]:
        """Return the parameters of ``model_builder`` that this target sets."""
        return {
            "execution_provider": self.execution_provider,
            "precision": self.precision.default,
            **self.builder,
        }


def target_names() -> tuple[str, ...]:
    """Return the names of all targets, sorted."""
    return tuple(sorted(path.stem for path in TARGETS_DIR.glob("*.toml")))


def named_targets(names: Iterable[str]) -> tuple[str, ...]:
    """Return ``names`` without duplicates, with :data:`ALL` replaced by all targets."""
    requested = tuple(names)
    return target_names() if ALL in requested else tuple(dict.fromkeys(requested))


def load_targets(names: Iterable[str]) -> tuple[Target, ...]:
    """Return the targets with ``names``. Raises :class:`ConfigError` for all unknown names, each
    with the nearest known one."""
    problems: list[Problem] = []
    targets = []
    for name in named_targets(names):
        try:
            targets.append(load_target(name))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return tuple(targets)


def load_target(name: str) -> Target:
    """Return the target ``name``.

    Raises :class:`ConfigError` with the nearest name if it is unknown, or with the problems of its
    file.
    """
    path = TARGETS_DIR / f"{name}.toml"
    if name not in target_names():
        raise ConfigError(
            [Problem(f"unknown target '{name}'", suggestion=did_you_mean(name, target_names()))]
        )
    try:
        return Target(name=name, **tomli.loads(path.read_text(encoding="utf-8")))
    except tomli.TOMLDecodeError as error:
        raise ConfigError([Problem(f"not valid TOML: {error}", path)]) from None
    except ValidationError as error:
        problems = [
            Problem(mistake["msg"], path, key=".".join(map(str, mistake["loc"])))
            for mistake in error.errors()
        ]
        raise ConfigError(problems) from None
