"""NVIDIA GPUs of this machine, as the driver's own tool lists them.

Most machines have none: what reads the list and a lock is imported where there is one.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from targets.devices.device import Device
from targets.toolchain.toolchain import Toolchain

if TYPE_CHECKING:
    from packaging.version import Version

KIND = "cuda"
"""Its name in the TOML files of targets."""
LIST = ("nvidia-smi", "-q", "-x")
"""The command that lists GPUs: https://docs.nvidia.com/deploy/nvidia-smi/"""
_ANSWER_SECONDS = 20
_RUNTIME = "nvidia-cuda-runtime"
ENGINE_RUNTIME = "nvidia"
"""What an engine calls the runtime that gives containers GPUs."""
VISIBLE = "CUDA_VISIBLE_DEVICES"
"""The variable that says which GPUs a process sees, by index or by UUID:
https://docs.nvidia.com/cuda/cuda-c-programming-guide/index.html#env-vars"""
_DRIVER_OF = {11: "450", 12: "525", 13: "580"}
"""Oldest Linux driver of each CUDA major version.
https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html"""


@dataclass(frozen=True)
class Gpu:
    """One GPU: its model, and the UUID by which drivers and engines know it."""

    name: str
    uuid: str


@dataclass(frozen=True)
class Gpus:
    """The GPUs of this machine, in the driver's order, and the driver they share."""

    gpus: tuple[Gpu, ...]
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
    from xml.etree import ElementTree

    from packaging.version import InvalidVersion, Version

    try:
        log = ElementTree.fromstring(listing)  # noqa: S314 - the driver's own tool wrote it
        gpus = tuple(
            Gpu(gpu.findtext("product_name") or "NVIDIA GPU", gpu.findtext("uuid") or str(index))
            for index, gpu in enumerate(log.findall("gpu"))
        )
        driver, cuda = log.findtext("driver_version") or "", log.findtext("cuda_version") or ""
        return Gpus(gpus, driver, Version(cuda)) if gpus else None
    except (ElementTree.ParseError, InvalidVersion):
        return None


def find(toolchain: Toolchain) -> Device:
    """Return one GPU of this machine as a device: the first that ``CUDA_VISIBLE_DEVICES`` names, by
    the index or the UUID of ``nvidia-smi``, and without that variable the machine's first."""
    return device_of(list_gpus(), toolchain, "here", os.environ.get(VISIBLE))


def device_of(
    gpus: Gpus | None, toolchain: Toolchain, where: str, named: str | None = None
) -> Device:
    """Return one of ``gpus`` as a device, with the reason if ``toolchain`` cannot use it.

    It is the first that ``named`` names, else the first: several would change what is trained.
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
    chosen = gpus.gpus[0] if named is None else _named(named, gpus)
    if chosen is None:
        return Device(KIND, f"{VISIBLE} is '{named}', which names no GPU of this machine")
    more = f", one of {len(gpus.gpus)}" if len(gpus.gpus) > 1 else ""
    return Device(
        KIND,
        description=f"{chosen.name}{more}, driver {gpus.driver}, CUDA {gpus.cuda}",
        model=chosen.name,
        environment={VISIBLE: chosen.uuid},
        container=container_options(chosen.uuid),
        engine_runtime=ENGINE_RUNTIME,
    )


def container_options(uuid: str) -> Mapping[str, object]:
    """Return what gives a container this GPU for computing, and no other:
    https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/docker-specialized.html
    """
    capabilities = [["gpu", "compute", "utility"]]
    return {"device_requests": [{"device_ids": [uuid], "capabilities": capabilities}]}


def _named(variable: str, gpus: Gpus) -> Gpu | None:
    """Return the first GPU that ``CUDA_VISIBLE_DEVICES`` names; a UUID may be shortened."""
    first = variable.partition(",")[0].strip()
    if first.isdecimal():
        return gpus.gpus[int(first)] if int(first) < len(gpus.gpus) else None
    return next((gpu for gpu in gpus.gpus if first and gpu.uuid.startswith(first)), None)


def cuda_of(toolchain: Toolchain) -> Version:
    """Return the CUDA version, major and minor, in the lock of ``toolchain``."""
    from packaging.version import Version

    from targets.toolchain.requirements import read_lock

    versions = [pin.version for pin in read_lock(toolchain.lock) if pin.name == _RUNTIME]
    if not versions:
        raise ValueError(f"{toolchain.lock} locks no {_RUNTIME}")
    return Version(f"{versions[0].major}.{versions[0].minor}")
