"""Any GPU that WebGPU reaches: on Windows through Direct3D 12. Containers have no driver of one.

Where there is none, SwiftShader computes on the CPU what a GPU would, if the toolchain has it.
"""

from __future__ import annotations

import platform
import sys

from targets.devices.device import Device
from targets.toolchain.toolchain import Toolchain

KIND = "webgpu"


def find(toolchain: Toolchain) -> Device:
    """Return the GPU that WebGPU uses; absent unless on Windows with a toolchain for it."""
    if sys.platform == "win32" and toolchain.platform.startswith("windows/"):
        return Device(KIND, description=f"a GPU through WebGPU on Windows {platform.version()}")
    emulation = "SwiftShader" if toolchain.files_lock.exists() else ""
    return Device(KIND, "a container reaches no GPU through WebGPU", emulation=emulation)
