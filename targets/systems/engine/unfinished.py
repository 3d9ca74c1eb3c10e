"""What a step can go on with after its job was ended: a volume for each such step, beside inputs.

It outlives the job, and goes when the step's result has been fetched. It is one driver's own: two
that make the same step at once would write over each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta

from docker import DockerClient

from pipeline.contract.sha256 import sha256_of_bytes
from targets.systems.engine.inputs import INPUT_LABEL, created, removed
from targets.toolchain.engine_clock import engine_time

UNFINISHED_LABEL = "quern.unfinished"
"""Label with the key of the step."""
FOLDER = "kept"
"""The folder in the volume that the step writes to; the volume itself belongs to root."""

_ABANDONED = timedelta(days=30)
"""Age at which nobody goes on with it any more, as for ``clean`` here."""


def unfinished_volumes(client: DockerClient, owner: str, keys: Iterable[str]) -> dict[str, str]:
    """Return the volume of each step, by its key, made where there is none; of ``owner``, who makes
    a step once at a time.

    A step whose volume a container has, such as a job that nobody asks after any more, has none.
    """
    found = {}
    for key in keys:
        volume = _name(owner, key)
        if not client.containers.list(all=True, filters={"volume": volume}, ignore_removed=True):
            labels = {INPUT_LABEL: "unfinished", UNFINISHED_LABEL: key}
            client.api.create_volume(volume, labels=labels)
            found[key] = volume
    return found


def forget(client: DockerClient, owner: str, keys: Iterable[str]) -> None:
    """Remove the volumes of steps that are finished."""
    finished = {_name(owner, key) for key in keys}
    for one in _listed(client):
        if one["Name"] in finished:
            removed(client, str(one["Name"]))


def remove_abandoned(client: DockerClient) -> None:
    """Remove the volumes that nobody went on with, whoever they are of."""
    before = engine_time(client) - _ABANDONED
    for one in _listed(client):
        if created(one) < before:
            removed(client, str(one["Name"]))


def _listed(client: DockerClient) -> Sequence[Mapping[str, object]]:
    return client.api.volumes(filters={"label": UNFINISHED_LABEL})["Volumes"] or ()


def _name(owner: str, key: str) -> str:
    return f"quern-unfinished-{sha256_of_bytes(f'{owner} {key}'.encode())[:24]}"
