"""Reads the identity of an image from an archive of `docker save`, without unpacking it.

Old engines write the image specification's v1.2 layout, newer ones an OCI layout; both hold a
``manifest.json`` that names the config and the layers of each image
(https://github.com/moby/docker-image-spec, "Combined Image JSON + Filesystem Changeset Format").
"""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any

from pipeline.contract.sha256 import sha256_of_bytes
from pipeline.reading.archives import BROKEN
from pipeline.reading.files import decoded
from pipeline.reading.json_text import parse_json

_LARGEST = 16 << 20
"""Limit of a JSON file in such an archive, in bytes; real ones have some thousand."""

_NAME_ANNOTATIONS = ("io.containerd.image.name", "org.opencontainers.image.ref.name")
"""Annotations in ``index.json`` of an OCI layout that hold the name of an image."""


class NotOneImage(ValueError):
    """The archive does not hold exactly one image without a name; the message says why."""


@dataclass(frozen=True)
class SavedImage:
    """The identity of an image: the digests of its config and of its layers."""

    config: str
    """SHA-256 of its config, which is the image's ID except in engines with containerd."""
    labels: Mapping[str, str]
    layers: tuple[str, ...]
    """SHA-256 of each layer's tar, ``sha256:…``, lowest first. The engine checks them."""


def read_saved(file: IO[bytes]) -> SavedImage:
    """Return the only image in the archive that begins at the current position of ``file``.

    Raises :class:`NotOneImage` for anything else, including an image with a name, because loading
    it would take that name from another image in the engine.
    """
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            return _only_image(archive)
    except (*BROKEN, LookupError, TypeError, AttributeError) as error:
        if isinstance(error, NotOneImage):
            raise
        raise NotOneImage(f"no archive of `docker save`: {error}") from None


def _only_image(archive: tarfile.TarFile) -> SavedImage:
    names = archive.getnames()
    images = _json(_content(archive, "manifest.json"))
    if len(images) != 1:
        raise NotOneImage(f"holds {len(images)} images")
    named = images[0].get("RepoTags") or []
    if "index.json" in names:
        named += _names_in_index(_json(_content(archive, "index.json")))
    if "repositories" in names:  # Podman's is there and names nothing
        named += _json(_content(archive, "repositories"))
    if named:
        raise NotOneImage(f"the image brings names of its own: {', '.join(map(str, named))}")
    content = _content(archive, images[0]["Config"])
    config = _json(content)
    return SavedImage(
        sha256_of_bytes(content),
        dict(config["config"].get("Labels") or {}),
        tuple(config["rootfs"]["diff_ids"]),
    )


def _names_in_index(index: Any) -> list[str]:
    return [
        value
        for entry in index["manifests"]
        for key, value in (entry.get("annotations") or {}).items()
        if key in _NAME_ANNOTATIONS
    ]


def _json(content: bytes) -> Any:
    return parse_json(decoded(content))


def _content(archive: tarfile.TarFile, name: str) -> bytes:
    member = archive.getmember(name)
    file = archive.extractfile(member)
    if file is None or member.size > _LARGEST:
        raise NotOneImage(f"{name} is not a small file")
    return file.read()
