"""NVIDIA GPUs of this machine, as the driver's own tool lists them."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from xml.etree import ElementTree

from packaging.version import InvalidVersion, Version

from targets.devices.device import Device
from targets.toolchain.requirements import read_lock
from targets.toolchain.toolchain import Toolchain

KIND = "cuda"
"""Its name in the TOML files of targets."""
LIST = ("nvidia-smi", "-q", "-x")
"""The command that lists GPUs: https://docs.nvidia.com/deploy/nvidia-smi/"""
_ANSWER_SECONDS = 20
_RUNTIME = "nvidia-cuda-runtime"
CONTAINER: Mapping[str, object] = {
    "device_requests": [{"count": -1, "capabilities": [["gpu", "compute", "utility"]]}]
}
"""All GPUs, for computing:
https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/docker-specialized.html"""
ENGINE_RUNTIME = "nvidia"
"""What an engine calls the runtime that gives containers GPUs."""
_DRIVER_OF = {11: "450", 12: "525", 13: "580"}
"""Oldest Linux driver of each CUDA major version.
https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html"""


@dataclass(frozen=True)
class Gpus:
    """The GPUs of this machine and the driver they share."""

    names: tuple[str, ...]
    driver: str
    cuda: Version
    """Newest CUDA that the driver supports."""


def list_gpus() -> Gpus | None:
    """Return the GPUs that ``nvidia-smi`` lists; ``None`` if there is no GPU or no driver."""
    try:
        listing = subprocess.run(
            LIST,
            capture_output=True,
            text=True,
            timeout=_ANSWER_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if listing.returncode else listed_gpus(listing.stdout)


def listed_gpus(listing: str) -> Gpus | None:
    """Return the GPUs in what :data:`LIST` wrote; ``None`` if there is none."""
    try:
        log = ElementTree.fromstring(listing)  # noqa: S314 - the driver's own tool wrote it
        names = tuple(gpu.findtext("product_name") or "NVIDIA GPU" for gpu in log.findall("gpu"))
        driver, cuda = log.findtext("driver_version") or "", log.findtext("cuda_version") or ""
        return Gpus(names, driver, Version(cuda)) if names else None
    except (ElementTree.ParseError, InvalidVersion):
        return None


def find(toolchain: Toolchain) -> Device:
    """Return the GPUs of this machine as a device."""
    return device_of(list_gpus(), toolchain, "here")


def device_of(gpus: Gpus | None, toolchain: Toolchain, where: str) -> Device:
    """Return ``gpus`` as a device, with the reason if ``toolchain`` cannot use them.

    CUDA's libraries run with every driver for their own major version or a newer one
    (https://docs.nvidia.com/deploy/cuda-compatibility/).
    """
    if gpus is None:
        return Device(KIND, f"there is no NVIDIA GPU {where}, or its driver is not installed")
    required = cuda_of(toolchain)
    if gpus.cuda.major < required.major:
        oldest = _DRIVER_OF.get(required.major)
        advice = f"; install driver {oldest} or newer" if oldest else "; install a newer driver"
        return Device(
            KIND,
            f"the driver {gpus.driver} supports CUDA {gpus.cuda}, the {toolchain.target} toolchain "
            f"is locked to CUDA {required}{advice}",
        )
    names = ", ".join(gpus.names)
    return Device(
        KIND,
        description=f"{names}, driver {gpus.driver}, CUDA {gpus.cuda}",
        container=CONTAINER,
        engine_runtime=ENGINE_RUNTIME,
    )


def cuda_of(toolchain: Toolchain) -> Version:
    """Return the CUDA version, major and minor, in the lock of ``toolchain``."""
    versions = [pin.version for pin in read_lock(toolchain.lock) if pin.name == _RUNTIME]
    if not versions:
        raise ValueError(f"{toolchain.lock} locks no {_RUNTIME}")
    return Version(f"{versions[0].major}.{versions[0].minor}")
