"""Saves images from an engine and loads them into one, as streams because of their size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, cast

from docker import DockerClient
from docker.errors import APIError, ImageLoadError
from docker.models.images import Image
from requests.exceptions import RequestException

from targets.errors import CheckFailed, EnvironmentUnable
from targets.toolchain.engine import full_disk, reason, request_timeout
from targets.transfer.saved_image import SavedImage
from targets.version import invocation

_SECONDS = 1800
"""Time limit: an engine may collect a whole image before it sends the first byte, and unpack it
before it answers."""


def save(client: DockerClient, image: str) -> Iterator[bytes]:
    """Yield the archive of the image with the id ``image``, without its names.

    Raises ``EnvironmentUnable`` if the engine cannot save it.
    """
    try:
        with request_timeout(client, _SECONDS):
            yield from client.api.get_image(image)
    except (APIError, RequestException) as error:
        raise _unable("save", reason(error)) from error


def load(client: DockerClient, saved: SavedImage, chunks: Iterator[bytes]) -> Image:
    """Load the archive ``chunks``, and return the image, which has no name yet.

    Raises ``EnvironmentUnable`` if the engine cannot load it, ``CheckFailed`` if it then has
    another image than ``saved``.
    """
    try:
        with request_timeout(client, _SECONDS):
            # requests streams any iterator.
            images = client.images.load(cast("IO[bytes]", chunks))
    except (APIError, ImageLoadError, RequestException) as error:
        raise _unable("load", reason(error)) from error
    if len(images) != 1 or not _is(images[0], saved):
        loaded = ", ".join(str(image.id) for image in images) or "nothing"
        raise CheckFailed(
            f"the engine was given the image sha256:{saved.config} and has {loaded}",
            "export it again",
        )
    return images[0]


def _is(image: Image, saved: SavedImage) -> bool:
    """Return whether ``image`` is ``saved``: by its ID or, if that is the digest of a manifest
    instead of the config (with containerd), by layers and settings."""
    layers = tuple(image.attrs["RootFS"]["Layers"])
    return image.id == f"sha256:{saved.config}" or (
        layers == saved.layers and dict(image.labels) == dict(saved.labels)
    )


def _unable(verb: str, why: str) -> EnvironmentUnable:
    return full_disk(why, f"{verb} an image") or EnvironmentUnable(
        f"the engine cannot {verb} an image: {why}",
        f"`{invocation('doctor')}` looks at the engine",
    )
