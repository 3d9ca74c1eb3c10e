"""The device of a target: its hardware, present on this machine or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from targets.errors import EnvironmentUnable

CPU = "cpu"
"""The kind of device that every machine has."""


@dataclass(frozen=True)
class Device:
    """The device of one target on this machine."""

    kind: str
    """Its name in the target's TOML file: that of a module of this package."""
    absence: str = ""
    """Why the toolchain cannot use it here; empty if it can."""
    emulation: str = ""
    """What computes on the CPU in its place where it is absent, so that its provider runs; empty if
    nothing does. What that shows of its provider is shown, and nothing of its speed and memory."""
    description: str = ""
    """Its name, with its driver."""
    model: str = ""
    """Its model, where results depend on it: that of the one GPU that steps use."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables that show a process this device and no other of its kind."""
    container: Mapping[str, object] = field(default_factory=dict)
    """Arguments of docker-py's ``containers.create`` that give a container the device:
    https://docker-py.readthedocs.io/en/stable/containers.html"""
    engine_runtime: str = ""
    """The runtime that the engine needs for that, by its name in ``docker info``."""
    several: tuple[Device, ...] = ()
    """Two of this device as one, three of it, and so on, as far as there are more of its model."""

    @property
    def here(self) -> bool:
        """Return whether the toolchain can use it."""
        return not self.absence

    def times(self, count: int) -> Device:
        """Return ``count`` of it as one device. Raises ``EnvironmentUnable`` if there are fewer.

        Of CPUs there is one, which all processes share; so they do where there is no GPU.
        """
        if count == 1 or self.kind == CPU or not self.here:
            return self
        if count - 2 < len(self.several):
            return self.several[count - 2]
        raise EnvironmentUnable(
            f"a training asks for {count} GPUs, and there are {len(self.several) + 1} of one model "
            f"({self.description})",
            "lower `gpus`, or choose a machine that has as many",
        )
