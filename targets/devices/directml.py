"""Any DirectX 12 GPU, as Windows has it. Linux containers have none."""

from __future__ import annotations

import platform
import sys

from targets.devices.device import Device
from targets.toolchain.toolchain import Toolchain


def find(toolchain: Toolchain) -> Device:
    """Return what DirectML runs on, on Windows and with a toolchain for it."""
    if sys.platform != "win32" or not toolchain.platform.startswith("windows/"):
        return Device("directml", "DirectML runs on Windows only")
    return Device("directml", description=f"DirectX 12 on Windows {platform.version()}")
