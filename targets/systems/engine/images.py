"""Brings the image of a toolchain to an engine elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from docker import DockerClient
from docker.errors import APIError, DockerException, ImageLoadError
from requests.exceptions import RequestException

from targets.errors import EnvironmentUnable
from targets.figures import size
from targets.runtimes.docker import remove
from targets.runtimes.heartbeat import PATIENCE, RESTART, SILENT, Heartbeat, while_answering
from targets.systems.engine.inputs import HELPER_LABEL
from targets.systems.engine.link import DROPPED, Link, can_tidy
from targets.systems.room import require_room
from targets.systems.system import Say
from targets.toolchain.base import ensure_base, find_base
from targets.toolchain.engine import connect, full_disk, reason, request_timeout
from targets.toolchain.image import (
    BASE_LABEL,
    Image,
    adopt_image,
    base_recipe,
    ensure_image,
    find_image,
    room_to_build,
)
from targets.toolchain.registry.image_registry import ImageRegistry
from targets.toolchain.toolchain import Toolchain

_MOVE_SECONDS = 1800
"""How long an engine may take: it collects an image before it sends the first byte, and unpacks it
before it answers."""
_COPIES = 2
"""An engine unpacks all that comes before it makes layers of it: ``Load`` in
https://github.com/moby/moby/blob/v20.10.24/image/tarexport/load.go."""
_MOST_SAID = 1 << 26
"""Bytes of the longest answer of a container that looks around."""
_BASE_PYTHON = "python3"
_LOOK = """
import json, os, sys
space = os.statvfs("/")
with open("/proc/cpuinfo") as file:
    lines = [line.partition(":") for line in file]
facts = {name.strip(): value.strip() for name, _, value in reversed(lines)}
json.dump({
    "free": space.f_bavail * space.f_frsize,
    "cpu": facts.get("model name") or facts.get("Model") or "",
    "flags": facts.get("flags", ""),
}, sys.stdout)
"""


@dataclass(frozen=True)
class Seen:
    """What a container sees of the engine's machine."""

    free: int
    """Free bytes on the disk of the engine."""
    cpu: str
    """Name of its CPU."""
    flags: tuple[str, ...]
    """What that CPU can do, by the names of ``/proc/cpuinfo``; none if that is unknown."""


def local_image(
    toolchain: Toolchain, registry: ImageRegistry | None
) -> tuple[DockerClient, Image] | None:
    """Return the image of ``toolchain`` in the engine of this machine, if both are there: built
    here, or pulled from ``registry``."""
    with suppress(EnvironmentUnable, DockerException, RequestException):
        client = connect()
        image = find_image(client, toolchain, registry)
        if image is not None:
            return client, image
        client.close()
    return None


def any_image(client: DockerClient) -> str | None:
    """Return the ID of an image of Quern's, if the engine has any."""
    images = client.images.list(filters={"label": BASE_LABEL})
    return str(images[0].id) if images else None


def look(client: DockerClient, image: str, python: str) -> Seen:
    """Return what a container of ``image`` sees. Raises ``EnvironmentUnable``."""
    said = output_of(client, image, [python, "-I", "-S", "-c", _LOOK])
    try:
        facts = json.loads(said)
        return Seen(int(facts["free"]), str(facts["cpu"]), tuple(str(facts["flags"]).split()))
    except (ValueError, TypeError, KeyError) as error:
        raise EnvironmentUnable(
            f"a container of {image} cannot say what its machine has: {said[-200:] or error}"
        ) from error


def output_of(
    client: DockerClient,
    image: str,
    command: list[str],
    *,
    patience: float = PATIENCE,
    **options: Any,
) -> str:
    """Return what ``command`` writes in a container of ``image``, which may do nothing else.

    Raises ``EnvironmentUnable``, also once the engine has not answered for ``patience`` seconds.
    """
    container = client.containers.create(
        image,
        command,
        entrypoint=[],
        labels={HELPER_LABEL: "look"},
        network_mode="none",
        read_only=True,
        cap_drop=["ALL"],
        auto_remove=True,
        **options,
    )
    try:
        output = container.attach(stdout=True, stderr=True, stream=True)
        container.start()
        said = bytearray()
        with Heartbeat(client, output.close, patience) as heartbeat:
            for piece in output:
                said += piece
                if len(said) > _MOST_SAID:
                    raise EnvironmentUnable(f"a container of {image} says more than it was asked")
        if heartbeat.silent:
            raise EnvironmentUnable(SILENT, RESTART)
        return said.decode("utf-8", "replace")
    except APIError as error:
        raise EnvironmentUnable(f"no container of {image} starts: {reason(error)}") from error
    finally:
        with suppress(*DROPPED):  # it goes when it has ended
            if can_tidy(client):
                remove(client, str(container.id))


def sent_image(link: Link, toolchain: Toolchain, registry: ImageRegistry | None) -> Image | None:
    """Return the image of ``toolchain`` that was pulled here and sent there.

    That it came from ``registry`` does not travel with it, but its ID does, which is a digest: it
    is the very image that was verified here.
    """
    found = None if registry is None else local_image(toolchain, registry)
    if found is None:
        return None
    here, image = found
    here.close()
    is_there = link.again(lambda client: _has(client, image.id))
    return image if image.digest and is_there else None


def send_image(
    link: Link, toolchain: Toolchain, registry: ImageRegistry | None, say: Say
) -> Image | None:
    """Bring the image of ``toolchain`` from the engine of this machine, if it has it. Its ID stays.

    Its base goes first, which is small: in it the room there is looked at. Raises
    ``EnvironmentUnable``.
    """
    found = local_image(toolchain, registry)
    if found is None:
        return None
    here, image = found
    try:
        needed = int(here.images.get(image.id).attrs["Size"])
        base_id = _send_base(link, here, toolchain)
        if base_id is not None:
            seen = link.again(lambda client: look(client, base_id, _BASE_PYTHON))
            room = needed * _COPIES
            require_room(link.name, seen.free, room, f"the image of {toolchain.target}")
        say(f"sending the image of {toolchain.target} to {link.name}: {size(needed)}")
        _move(link, here, image.id, lambda sent: say(f"{size(sent)} sent"))
    finally:
        here.close()
    if not image.digest:
        return link.again(lambda client: adopt_image(client.images.get(image.id), toolchain))
    # Under the registry's name nobody there uses it who cannot verify it: see sent_image.
    repository, _, tag = image.tag.rpartition(":")
    link.again(lambda client: client.images.get(image.id).tag(repository, tag))
    return image


def build_image(link: Link, toolchain: Toolchain, cache: Path, say: Say) -> Image:
    """Build the image of ``toolchain`` there, from wheels that are sent.

    Its base is made first, in which the room there is looked at. Raises ``EnvironmentUnable``.
    """
    base = link.at_length(lambda client: ensure_base(client, base_recipe(toolchain), cache, say))
    seen = link.again(lambda client: look(client, base.image, _BASE_PYTHON))
    room = link.again(lambda client: room_to_build(client, toolchain))
    what = f"the image of {toolchain.target}, which is built there,"
    require_room(link.name, seen.free, room, what)
    return link.at_length(lambda client: ensure_image(client, toolchain, cache, say))


def send_base(link: Link, toolchain: Toolchain) -> str | None:
    """Bring the base of ``toolchain``'s image from the engine of this machine; return its ID, or
    ``None`` if it is not there."""
    try:
        here = connect()
    except EnvironmentUnable:
        return None
    try:
        return _send_base(link, here, toolchain)
    finally:
        here.close()


def _send_base(link: Link, here: DockerClient, toolchain: Toolchain) -> str | None:
    base = find_base(here, base_recipe(toolchain))
    if base is None:
        return None
    base_id = str(here.images.get(base.image).id)
    _move(link, here, base_id, lambda _sent: None)
    return base_id


def _move(link: Link, here: DockerClient, image: str, moved: Callable[[int], None]) -> None:
    """Bring ``image``, an ID, as a stream; a connection that drops begins anew."""

    def load(client: DockerClient) -> None:
        if _has(client, image):
            return
        sent = [0]
        with (
            while_answering(here),
            request_timeout(client, _MOVE_SECONDS),
            request_timeout(here, _MOVE_SECONDS),
        ):
            client.images.load(cast("IO[bytes]", _counted(here.api.get_image(image), sent)))
        if str(client.images.get(image).id) != image:
            raise EnvironmentUnable(f"{link.name} took the image and has another one")
        moved(sent[0])

    try:
        link.at_length(load)
    except (APIError, ImageLoadError) as error:
        why = reason(error)
        raise full_disk(why, f"an image for {link.name}") or EnvironmentUnable(
            f"the image cannot be brought to {link.name}: {why}"
        ) from error


def _has(client: DockerClient, image: str) -> bool:
    with suppress(APIError):
        client.images.get(image)
        return True
    return False


def _counted(pieces: Iterator[bytes], sent: list[int]) -> Iterator[bytes]:
    for piece in pieces:
        sent[0] += len(piece)
        yield piece
