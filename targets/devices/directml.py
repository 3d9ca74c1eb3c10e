"""Any DirectX 12 GPU on Windows. Linux containers cannot use one."""

from __future__ import annotations

import platform
import sys

from targets.devices.device import Device
from targets.toolchain.toolchain import Toolchain


def find(toolchain: Toolchain) -> Device:
    """Return the GPU that DirectML uses; absent unless on Windows with a toolchain for it."""
    if sys.platform != "win32" or not toolchain.platform.startswith("windows/"):
        return Device("directml", "DirectML runs on Windows only")
    return Device("directml", description=f"DirectX 12 on Windows {platform.version()}")
