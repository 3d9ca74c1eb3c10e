"""What engines say about themselves, word for word as those did that were asked."""

from __future__ import annotations

from typing import Any

import docker
import pytest

from targets.toolchain.engine_facts import EngineFacts, facts_of
from tests.support.engines import engine_answering

# Docker Engine 20.10, as root and rootless without systemd; Podman 4.3 as root and rootless, both
# on Debian 12 with cgroups v1. Rootless, Podman tells a Docker client that it limits all of it.
DOCKER = {"MemoryLimit": True, "CpuCfsQuota": True, "PidsLimit": True, "CgroupDriver": "cgroupfs"}
ROOTLESS_DOCKER = {
    "MemoryLimit": False,
    "CpuCfsQuota": False,
    "PidsLimit": False,
    "CgroupDriver": "none",
    "SecurityOptions": ["name=seccomp,profile=default", "name=rootless"],
}
PODMAN = {
    "podman": "4.3.1",
    "SecurityOptions": ["name=seccomp,profile=default"],
    "MemoryLimit": True,
    "CpuCfsQuota": True,
    "PidsLimit": True,
    "Rootless": False,
    "host": {"cgroupControllers": ["cpuset", "cpu", "memory", "devices", "pids"]},
}
ROOTLESS_PODMAN = {**PODMAN, "Rootless": True, "host": {"cgroupControllers": []}}
ALL = ("memory", "CPUs", "processes")


def facts(said: dict[str, Any]) -> EngineFacts:
    with engine_answering(**said) as address:
        return facts_of(docker.DockerClient(address))


@pytest.mark.parametrize(
    ("said", "name", "rootless", "unenforced"),
    [
        (DOCKER, "Docker Engine", False, ()),
        (ROOTLESS_DOCKER, "Docker Engine", True, ALL),
        (PODMAN, "Podman", False, ()),
        (ROOTLESS_PODMAN, "Podman", True, ALL),
        (
            {**ROOTLESS_PODMAN, "host": {"cgroupControllers": ["memory", "pids"]}},
            "Podman",
            True,
            ("CPUs",),
        ),
        ({**DOCKER, "CpuCfsQuota": False}, "Docker Engine", False, ("CPUs",)),
    ],
)
def test_what_it_is_and_does_not_enforce(
    said: dict[str, Any], name: str, rootless: bool, unenforced: tuple[str, ...]
) -> None:
    found = facts(said)
    assert (found.name, found.rootless, found.unenforced) == (name, rootless, unenforced)
    assert bool(found.limits_note) == bool(found.unconfined) == bool(unenforced)


def test_the_note_says_who_does_not_enforce_what() -> None:
    assert facts(ROOTLESS_PODMAN).limits_note == (
        "rootless Podman 4.3.1 accepts limits of memory, CPUs, processes and does not enforce them"
    )


def test_reports_name_podman_and_have_dockers_version_as_before() -> None:
    assert facts(PODMAN).known_as == "Podman 4.3.1"
    assert facts(DOCKER).known_as == "20.10.24"
