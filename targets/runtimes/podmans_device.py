"""How a container of Podman gets a GPU: by its CDI name, where Docker takes NVIDIA's runtime."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from packaging.version import Version

from targets.errors import EnvironmentUnable
from targets.toolchain.engine_facts import EngineFacts

_OLDEST = Version("5.4")
"""The first Podman whose Docker API heeds requests for devices; older ones ignore them without a
word: https://github.com/containers/podman/pull/25171"""
_KIND = "nvidia.com/gpu"
"""NVIDIA's kind of devices: https://github.com/cncf-tags/container-device-interface"""
CDI_REMEDY = (
    "use Podman 5.4 or newer with NVIDIA's CDI devices (`sudo nvidia-ctk cdi generate "
    "--output=/etc/cdi/nvidia.yaml`), a Docker Engine, or `--runtime venv`"
)


def podmans_device(device: Mapping[str, Any], facts: EngineFacts) -> Mapping[str, object]:
    """Return ``device``, as Docker is asked for it, in the words of Podman.

    Raises ``EnvironmentUnable`` for a Podman that would ignore it.
    """
    why = why_not(facts)
    if why:
        raise EnvironmentUnable(why, CDI_REMEDY)
    (asked,) = device["device_requests"]
    names = [f"{_KIND}={identifier}" for identifier in asked["device_ids"]]
    return {"device_requests": [{"driver": "cdi", "device_ids": names}]}


def why_not(facts: EngineFacts) -> str:
    """Return why this Podman cannot give a container the GPU; empty if it can."""
    if Version(facts.version) >= _OLDEST:
        return ""
    return f"Podman {facts.version} cannot give a container the GPU: its API ignores the request"
