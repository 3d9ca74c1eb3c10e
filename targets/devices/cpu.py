"""The CPU as a device, which every machine has."""

from __future__ import annotations

import platform

from targets.devices.device import CPU, Device
from targets.toolchain.toolchain import Toolchain


def find(_toolchain: Toolchain) -> Device:
    """Return the CPU of this machine."""
    return Device(CPU, description=platform.machine())
