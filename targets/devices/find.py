"""Finds the device of a target on this machine."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable

from targets.devices.device import Device
from targets.devices.nvidia import cuda_device
from targets.toolchain.toolchain import Toolchain


def find_device(kind: str, toolchain: Toolchain) -> Device:
    """Return the device ``kind`` as ``toolchain`` can use it here."""
    return _RULES[kind](toolchain)


def _cpu(_toolchain: Toolchain) -> Device:
    return Device("cpu", description=platform.processor() or platform.machine())


def _directml(toolchain: Toolchain) -> Device:
    if sys.platform != "win32" or not toolchain.platform.startswith("windows/"):
        return Device("directml", "DirectML runs on Windows only")
    return Device("directml", description=f"DirectX 12 on Windows {platform.version()}")


_RULES: dict[str, Callable[[Toolchain], Device]] = {
    "cpu": _cpu,
    "cuda": cuda_device,
    "directml": _directml,
}
