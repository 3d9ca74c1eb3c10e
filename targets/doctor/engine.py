"""Examines the engine, Docker's or Podman, Quern's images on it, and leftovers of earlier runs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from docker import DockerClient
from docker.errors import DockerException
from requests.exceptions import RequestException

from targets.doctor.finding import Finding, Machine, gigabytes
from targets.doctor.systems import examined
from targets.errors import EnvironmentUnable
from targets.runtimes.containers import Containers
from targets.runtimes.docker import RUN_LABEL
from targets.runtimes.driver import driver_of
from targets.runtimes.podmans_device import CDI_REMEDY, why_not
from targets.toolchain.engine_clock import engine_time
from targets.toolchain.engine_facts import EngineFacts, facts_of
from targets.toolchain.image import expected_image, superseded_images
from targets.toolchain.platforms import or_venv
from targets.toolchain.registry.exchange import RegistryFailed
from targets.toolchain.toolchain import Toolchain
from targets.version import invocation

_DELEGATE = (
    "a rootless engine enforces them where the machine has cgroups v2 and systemd delegates them: "
    "https://rootlesscontaine.rs/getting-started/common/cgroup2/"
)
_DISK_ENOUGH = 6e9
"""Disk space of an image while it is built, including its first stage, in bytes."""
_UNUSED_DAYS = 30
"""As `clean` has it for results."""


def engine(machine: Machine) -> Iterator[Finding]:
    """Examine the engine and everything on it; without one, report how builds run instead.

    One of another machine that the environment names is examined as a system is.
    """
    elsewhere = machine.chooser.elsewhere()
    if elsewhere is not None:
        yield from examined(elsewhere.system, machine.toolchains, machine, blocks=("docker",))
        return
    try:
        containers = machine.chooser.containers()
    except EnvironmentUnable as unable:
        yield Finding("warning", "engine", str(unable), unable.hint, blocks=("docker",))
        return
    try:
        yield from _examine(containers, machine)
    except (DockerException, RequestException) as error:
        yield Finding(
            "problem",
            "engine",
            f"the engine stopped answering: {error}",
            or_venv("restart it"),
            blocks=("docker",),
        )


def _examine(containers: Containers, machine: Machine) -> Iterator[Finding]:
    client = containers.client
    facts = facts_of(client)
    info = facts.info
    yield from _engine(facts, info)
    yield from _storage(info)
    yield from _gpu_runtime(facts, info, machine)
    yield from _registry(containers, machine)
    for toolchain in machine.toolchains:
        yield _image(containers, toolchain)
    parents = {one.parent.lock: one.parent for one in machine.toolchains if one.parent is not None}
    for toolchain in (*machine.toolchains, *parents.values()):
        yield from _superseded(client, toolchain)
    yield from _leftovers(client)


def _engine(facts: EngineFacts, info: Mapping[str, Any]) -> Iterator[Finding]:
    mode = "rootless" if facts.rootless else "as root"
    yield Finding(
        "ok",
        "engine",
        f"{facts.name} {facts.version}, API {facts.api}, {mode}, "
        f"{info['Driver']}, {info['NCPU']} CPUs, {gigabytes(info['MemTotal'])} memory",
        details={
            "name": facts.name,
            "version": facts.version,
            "api": facts.api,
            "rootless": facts.rootless,
            "storage": str(info["Driver"]),
        },
    )
    if facts.limits_note:
        yield Finding(
            "warning",
            "engine limits",
            facts.limits_note,
            _DELEGATE if facts.rootless else "",
            {"unenforced": list(facts.unenforced)},
        )


def _storage(info: Mapping[str, Any]) -> Iterator[Finding]:
    root = Path(info["DockerRootDir"])
    try:
        free = shutil.disk_usage(root).free
    except OSError:
        return  # the engine is elsewhere, or hides its folder from this user
    message = f"{gigabytes(free)} free at {root}"
    if free < _DISK_ENOUGH:
        remedy = "an image takes 6 GB while it is built: `docker system prune` frees space"
        yield Finding("warning", "engine disk", message, remedy, {"free_bytes": free})
    else:
        yield Finding("ok", "engine disk", message, details={"free_bytes": free})


def _gpu_runtime(
    facts: EngineFacts, info: Mapping[str, Any], machine: Machine
) -> Iterator[Finding]:
    """Report whether containers can use the devices of this machine."""
    for name in sorted({place.device.engine_runtime for place in machine.places} - {""}):
        if facts.is_podman:
            unable = why_not(facts)
            message = unable or "containers get the GPU by its CDI name"
            yield Finding("warning" if unable else "ok", "engine gpu", message, CDI_REMEDY)
        elif name in info.get("Runtimes", {}):
            yield Finding("ok", "engine gpu", f"containers can use the GPU (runtime {name})")
        else:
            remedy = f"install the container toolkit that brings the runtime {name}, then restart"
            yield Finding("warning", "engine gpu", "containers cannot use the GPU", remedy)


def _registry(containers: Containers, machine: Machine) -> Iterator[Finding]:
    """Report whether the registry of the config answers, and which images it has."""
    registry = containers.registry
    if registry is None:
        return
    try:
        served = [
            toolchain.target
            for toolchain in machine.toolchains
            if registry.ask(containers.client, expected_image(toolchain))
        ]
    except RegistryFailed as failed:
        yield Finding("warning", "registry", f"{registry.address}: {failed}", failed.advice)
        return
    images = f"the images of {', '.join(served)}" if served else "none of the images"
    yield Finding("ok", "registry", f"{registry.address} answers, and has {images}")


def _image(containers: Containers, toolchain: Toolchain) -> Finding:
    details = {"target": toolchain.target}
    image = containers.find(toolchain)
    if image is not None:
        return Finding("ok", "image", f"{image.tag} is ready", details=details)
    try:
        source = containers.require([toolchain])
    except EnvironmentUnable as unable:
        message = f"{toolchain.target}: not built yet; {unable}"
        return Finding("warning", "image", message, unable.hint, details, ("docker",))
    return Finding("ok", "image", source, f"`{invocation('images')}` makes it ready", details)


def _superseded(client: DockerClient, toolchain: Toolchain) -> Iterator[Finding]:
    """Report images of other recipes. Another checkout may use them, and then not long ago."""
    images = superseded_images(client, toolchain)
    since = engine_time(client) - timedelta(days=_UNUSED_DAYS)
    unused = [image for image in images if image.used < since]
    if unused:
        size = sum(image.bytes for image in unused)
        tags = [tag for image in unused for tag in image.tags]
        yield Finding(
            "warning",
            "old images",
            f"{len(unused)} of other recipes, which no build used for {_UNUSED_DAYS} days, "
            f"up to {gigabytes(size)}",
            f"docker rmi {' '.join(tags)}",
            {"count": len(unused), "bytes": size},
        )


def _leftovers(client: DockerClient) -> Iterator[Finding]:
    names = []
    for container in client.containers.list(
        all=True, filters={"label": RUN_LABEL}, ignore_removed=True
    ):
        driver = driver_of(container.labels[RUN_LABEL])
        if driver is not None and driver.gone:
            names.append(str(container.name))
    if names:
        yield Finding(
            "warning",
            "containers",
            f"{len(names)} left by builds that were killed",
            f"the next build removes them; or docker rm -f {' '.join(names)}",
            {"count": len(names)},
        )
