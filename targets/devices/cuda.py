"""NVIDIA GPUs of this machine, as the driver's own tool lists them.

Most machines have none: what reads the list and a lock is imported where there is one.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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

    It is the first that ``named`` names, else the first: several would change what is trained, and
    are :attr:`Device.several`.
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
    found = gpus.gpus if named is None else _named(named, gpus)
    if not found:
        return Device(KIND, f"{VISIBLE} is '{named}', which names no GPU of this machine")
    alike = [gpu for gpu in found if gpu.name == found[0].name]
    several = tuple(_device(alike[:count], gpus) for count in range(2, len(alike) + 1))
    return replace(_device(alike[:1], gpus), several=several)


def _device(chosen: Sequence[Gpu], gpus: Gpus) -> Device:
    name, uuids = chosen[0].name, [gpu.uuid for gpu in chosen]
    amount = f", {len(chosen)} of {len(gpus.gpus)}" if len(chosen) > 1 else ""
    amount = amount or (f", one of {len(gpus.gpus)}" if len(gpus.gpus) > 1 else "")
    return Device(
        KIND,
        description=f"{name}{amount}, driver {gpus.driver}, CUDA {gpus.cuda}",
        model=name,
        environment={VISIBLE: ",".join(uuids)},
        container=container_options(*uuids),
        engine_runtime=ENGINE_RUNTIME,
    )


def container_options(*uuids: str) -> Mapping[str, object]:
    """Return what gives a container these GPUs for computing, and no other:
    https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/docker-specialized.html
    """
    capabilities = [["gpu", "compute", "utility"]]
    return {"device_requests": [{"device_ids": [*uuids], "capabilities": capabilities}]}


def _named(variable: str, gpus: Gpus) -> tuple[Gpu, ...]:
    """Return the GPUs that ``CUDA_VISIBLE_DEVICES`` names, up to the first name that is none; a
    UUID may be shortened."""
    found: list[Gpu] = []
    for name in map(str.strip, variable.split(",")):
        if name.isdecimal():
            gpu = gpus.gpus[int(name)] if int(name) < len(gpus.gpus) else None
        else:
            gpu = next((one for one in gpus.gpus if name and one.uuid.startswith(name)), None)
        if gpu is None or gpu in found:
            break
        found.append(gpu)
    return tuple(found)


def cuda_of(toolchain: Toolchain) -> Version:
    """Return the CUDA version, major and minor, in the lock of ``toolchain``."""
    from packaging.version import Version

    from targets.toolchain.requirements import read_lock

    versions = [pin.version for pin in read_lock(toolchain.lock) if pin.name == _RUNTIME]
    if not versions:
        raise ValueError(f"{toolchain.lock} locks no {_RUNTIME}")
    return Version(f"{versions[0].major}.{versions[0].minor}")
