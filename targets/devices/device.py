"""What a device is: the hardware of a target, as this machine has it or has not."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Device:
    """The device of one target on this machine."""

    kind: str
    """``cpu``, ``cuda`` or ``directml``, as the target's TOML says it."""
    absence: str = ""
    """Why a toolchain cannot use it here; empty where it can."""
    description: str = ""
    """What it is, with its driver."""

    @property
    def here(self) -> bool:
        """Return whether the toolchain can use it."""
        return not self.absence
