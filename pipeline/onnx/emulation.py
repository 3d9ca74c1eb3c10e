"""Runs the provider of an artifact on the CPU, where the target's device is absent.

SwiftShader is a driver of Vulkan that computes on the CPU: through it the WebGPU provider runs the
very programs that it would run on a GPU. The toolchain brings both (``images/webgpu/files.toml``).
"""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.onnx.graph import OnnxModel

if TYPE_CHECKING:
    from pipeline.contract.step import Inputs

_DRIVER = Path(sys.prefix) / "lib" / "chromium-common"
"""Where the toolchain has SwiftShader, and Vulkan's loader."""
_HALF = 10
"""ONNX's number of the type float16."""


def absence_of_provider(inputs: Inputs, model: OnnxModel) -> str:
    """Return why the provider of the artifact ``model`` cannot run here; empty if it can, on its
    device or emulated."""
    if not (inputs.absent_device and inputs.emulation):
        return inputs.absent_device
    if _HALF in {value.type.tensor_type.elem_type for value in model.proto.graph.output}:
        return f"{inputs.absent_device}, and {inputs.emulation} does not compute in fp16"
    if not _DRIVER.is_dir():
        return f"{inputs.absent_device}, and this environment has no {inputs.emulation}"
    return ""


@cache
def emulate_vulkan() -> None:
    """Have Vulkan find SwiftShader, and the provider accept a CPU. Call it before the provider is
    loaded.

    The provider looks for Vulkan's loader by name, and finds one that the process has loaded.
    """
    os.environ["VK_DRIVER_FILES"] = str(_DRIVER / "vk_swiftshader_icd.json")
    # https://github.com/microsoft/onnxruntime/pull/32287
    os.environ["ORT_WEBGPU_EP_ALLOW_SOFTWARE_ADAPTER"] = "1"
    ctypes.CDLL(str(_DRIVER / "libvulkan.so.1"), ctypes.RTLD_GLOBAL)
