"""How Podman is asked for the GPU that Docker is asked for."""

from __future__ import annotations

import pytest

from targets.devices.cuda import container_options
from targets.errors import EnvironmentUnable
from targets.runtimes.podmans_device import podmans_device
from targets.toolchain.engine_facts import EngineFacts

UUID = "GPU-0a5dc1fe-0000-4c3b-9c4e-6f2d5a1b0e77"


def podman(version: str) -> EngineFacts:
    return EngineFacts("Podman", version, "1.41", rootless=False, unenforced=())


@pytest.mark.parametrize("version", ["5.4.0", "5.10.1", "6.0.0-dev"])
def test_by_its_cdi_name(version: str) -> None:
    asked = podmans_device(container_options(UUID), podman(version))
    assert asked == {
        "device_requests": [{"driver": "cdi", "device_ids": [f"nvidia.com/gpu={UUID}"]}]
    }


@pytest.mark.parametrize("version", ["4.3.1", "4.9.3", "5.3.2"])
def test_one_that_would_ignore_it_is_refused(version: str) -> None:
    with pytest.raises(
        EnvironmentUnable, match=f"Podman {version} cannot give a container the GPU"
    ):
        podmans_device(container_options(UUID), podman(version))
