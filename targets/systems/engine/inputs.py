"""Inputs on an engine: a volume for each tree, so that each is sent once.

A volume has its name before it is filled. So a second one, which stays empty and is named by the
tree's digest, says which volume has it whole; it is made when the engine has taken everything. Two
drivers that send the same fill two volumes, and the first to say so is believed.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import IO, cast

from docker import DockerClient
from docker.errors import APIError
from docker.types import Mount

from targets.figures import size
from targets.runtimes.docker import remove
from targets.systems.engine.keeper import kept
from targets.systems.engine.lease import renewed
from targets.systems.engine.link import DROPPED, Link, can_tidy
from targets.systems.system import Say
from targets.systems.tree import TAR_END, Tree, total
from targets.toolchain.engine import full_disk, reason, request_timeout
from targets.toolchain.engine_clock import engine_time, time_of

INPUT_LABEL = "quern.input"
"""Label of all volumes with inputs."""
HELPER_LABEL = "quern.helper"

VOLUME_LABEL = "quern.volume"
"""Label with the volume that has a tree whole."""
FILL = "/in"
_SEND_SECONDS = 1800
"""How long the engine may take to take in what was sent."""
_SAID_FROM = 10 * 1000**2
_WAIT = "import signal\nwhile True: signal.pause()"
_FORGOTTEN = timedelta(days=1)
"""Age at which nobody fills a volume any more that is not whole."""


def whole_volumes(client: DockerClient) -> dict[str, str]:
    """Return the volumes of the engine that have a tree whole, by its digest."""
    volumes = _volumes(client)
    found = {}
    for labels in volumes.values():
        volume = labels.get(VOLUME_LABEL)
        if volume in volumes:
            found[labels[INPUT_LABEL]] = volume
    return found


def send(
    link: Link,
    image: str,
    python: str,
    trees: Mapping[str, Tree],
    lease_seconds: float,
    say: Say,
) -> None:
    """Send ``trees``, by digest. ``image`` runs what keeps a container for that.

    Raises ``EnvironmentUnable``, and ``PassFailed`` where a file changes meanwhile.
    """
    wanted = total(trees.values())
    if wanted > _SAID_FROM:
        say(f"sending {size(wanted)} to {link.name}")

    def rest(client: DockerClient) -> None:
        there = whole_volumes(client)  # a connection may have dropped when some were
        absent = {digest: tree for digest, tree in trees.items() if digest not in there}
        if absent:
            _fill(link, client, image, python, absent, lease_seconds)

    try:
        link.at_length(rest)
    except APIError as error:
        why = reason(error)
        raise full_disk(why, f"sending inputs to {link.name}") or error from error


def remove_unneeded(client: DockerClient, needed: Iterable[str]) -> None:
    """Remove inputs that are not ``needed``, and that no container uses."""
    wanted = {*needed}
    for digest, volume in whole_volumes(client).items():
        if digest not in wanted:
            removed(client, whole_name(digest))  # what says that it is whole goes first
            removed(client, volume)


def whole_name(digest: str) -> str:
    """Return the name of the volume that says which one has a tree whole."""
    return f"quern-whole-{digest[:32]}"


def _volumes(client: DockerClient) -> dict[str, dict[str, str]]:
    """Return the labels of all volumes with inputs, by name."""
    listed = client.api.volumes(filters={"label": INPUT_LABEL})
    return {str(one["Name"]): dict(one["Labels"]) for one in listed["Volumes"] or ()}


def removed(client: DockerClient, name: str) -> bool:
    """Remove the volume ``name``; return whether that was possible."""
    try:
        client.api.remove_volume(name)
    except APIError:
        return False  # in use
    return True


def _fill(
    link: Link,
    client: DockerClient,
    image: str,
    python: str,
    trees: Mapping[str, Tree],
    lease_seconds: float,
) -> None:
    """Fill a fresh volume with each tree, and say that it is whole."""
    _remove_forgotten(client)
    fresh = {digest: f"quern-in-{secrets.token_hex(12)}" for digest in trees}
    try:
        for digest, volume in fresh.items():
            client.api.create_volume(volume, labels={INPUT_LABEL: digest})
        with _helper(link, client, image, python, fresh, lease_seconds) as name:
            for digest, tree in trees.items():
                with request_timeout(client, _SEND_SECONDS):
                    client.api.put_archive(name, "/", cast("IO[bytes]", _tar(digest, tree)))
                labels = {INPUT_LABEL: digest, VOLUME_LABEL: fresh[digest]}
                client.api.create_volume(whole_name(digest), labels=labels)
    finally:
        # Those that did not become whole, or that another driver was quicker to fill.
        with suppress(APIError, *DROPPED):
            used = {*whole_volumes(client).values()} if can_tidy(client) else {*fresh.values()}
            for volume in {*fresh.values()} - used:
                removed(client, volume)


@contextmanager
def _helper(
    link: Link,
    client: DockerClient,
    image: str,
    python: str,
    volumes: Mapping[str, str],
    lease_seconds: float,
) -> Iterator[str]:
    """Yield the name of a container with ``volumes``, by digest, that runs and does nothing."""
    name = f"quern-send-{secrets.token_hex(6)}"
    wait = [python, "-I", "-S", "-c", _WAIT]
    client.containers.create(
        image,
        kept(python, lease_seconds, lease_seconds, "-", *wait),
        name=name,
        entrypoint=[],
        labels={HELPER_LABEL: "send"},
        mounts=[
            Mount(f"{FILL}/{digest[:32]}", volume, "volume") for digest, volume in volumes.items()
        ],
        network_mode="none",
        cap_drop=["ALL"],
        init=True,
        auto_remove=True,
    )
    try:
        client.api.start(name)
        with renewed(link, name, lease_seconds):
            yield name
    finally:
        with suppress(*DROPPED):  # then it ends by itself
            if can_tidy(client):
                remove(client, name)


def _remove_forgotten(client: DockerClient) -> None:
    """Remove what killed drivers left: containers that never ran, and volumes half filled."""
    before = engine_time(client) - _FORGOTTEN
    found = client.containers.list(
        all=True, filters={"label": HELPER_LABEL, "status": "created"}, ignore_removed=True
    )
    for container in found:
        if HELPER_LABEL in container.labels and time_of(container.attrs["Created"]) < before:
            remove(client, str(container.id))
    listed = client.api.volumes(filters={"label": INPUT_LABEL})["Volumes"] or ()
    used = {*whole_volumes(client).values()}
    for one in listed:
        name = str(one["Name"])
        half = one["Labels"].keys() == {INPUT_LABEL} and name not in used
        if half and created(one) < before:
            removed(client, name)


def created(volume: Mapping[str, object]) -> datetime:
    """Return when a listed volume was made."""
    return time_of(str(volume["CreatedAt"]))


def _tar(digest: str, tree: Tree) -> Iterator[bytes]:
    yield from tree.tar(f"{FILL.strip('/')}/{digest[:32]}")
    yield TAR_END
