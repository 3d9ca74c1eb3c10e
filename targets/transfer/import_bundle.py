"""Imports a bundle into the cache's wheelhouse and the engine, where builds look."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from docker import DockerClient
from docker.models.images import Image

from targets.atomic import atomic_file
from targets.toolchain.base import adopt_base, find_base, packages_file, read_recipe
from targets.toolchain.image import adopt_image, base_dir, find_image
from targets.toolchain.toolchain import Toolchain
from targets.toolchain.wheelhouse import Wheelhouse
from targets.transfer.bundle import BASE, PACKAGES, WHEELS, BundledImage, Manifest
from targets.transfer.compatibility import require_fit, require_images, require_pinned
from targets.transfer.engine_images import load
from targets.transfer.progress import Say, gigabytes, with_progress
from targets.transfer.read_bundle import Bundle, open_bundle, require_whole
from targets.transfer.saved_image import SavedImage


@dataclass(frozen=True)
class ImportedImage:
    """An image of the bundle, and whether it was loaded."""

    member: str
    bytes: int
    status: Literal["loaded", "present", "left"]
    """``left``: not loaded, because there is no engine."""
    tag: str


@dataclass(frozen=True)
class ImportResult:
    """The result of an import: new and existing wheels and images."""

    wheels: int
    new_wheels: int
    wheel_bytes: int
    """Size of all wheels in bytes."""
    folder: Path
    """The wheelhouse."""
    images: tuple[ImportedImage, ...]


def import_bundle(
    path: Path,
    platform: str,
    toolchain_of: Callable[[str], Toolchain],
    client: DockerClient | None,
    cache: Path,
    say: Say,
) -> ImportResult:
    """Import the bundle at ``path``, after all of it has been checked.

    Wheels and images that exist already are left as they are. Without a ``client`` images are not
    imported. Raises ``ConfigError`` if the bundle is not for this ``platform`` or checkout, and
    ``CheckFailed`` if it is damaged or does not match its manifest; nothing is written then.
    """
    with open_bundle(path) as bundle:
        toolchains = require_fit(bundle, platform, toolchain_of)
        require_pinned(bundle, toolchains)
        say(f"checking {path}, {gigabytes(path.stat().st_size)}")
        require_whole(bundle)
        saved = require_images(bundle, toolchains)
        wheels = bundle.manifest.below(WHEELS)
        house = Wheelhouse(cache / "wheels")
        new = house.add(
            {member.name.removeprefix(WHEELS): member.sha256 for member in wheels},
            lambda name: bundle.chunks(WHEELS + name),
        )
        _packages(bundle, toolchains[0], cache)
        for member in bundle.manifest.below(PACKAGES):
            file = cache / member.name
            file.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(file) as partial:
                partial.write_bytes(b"".join(bundle.chunks(member.name)))
        return ImportResult(
            wheels=len(wheels),
            new_wheels=len(new),
            wheel_bytes=sum(member.bytes for member in wheels),
            folder=house.folder,
            images=tuple(_images(bundle, toolchains, saved, client, say)),
        )


def _images(
    bundle: Bundle,
    toolchains: Sequence[Toolchain],
    saved: Mapping[str, SavedImage],
    client: DockerClient | None,
    say: Say,
) -> Iterator[ImportedImage]:
    """Load the images that the engine lacks, beginning with the base, which shares its layers."""
    for image, place in _image_slots(bundle.manifest, toolchains):
        size = next(one.bytes for one in bundle.manifest.members if one.name == image.member)
        tag = "" if client is None else place.find(client)
        if client is None or tag:
            yield ImportedImage(image.member, size, "present" if tag else "left", tag)
            continue
        say(f"loading {image.member}, {gigabytes(size)}")
        chunks = with_progress(bundle.chunks(image.member), image.member, size, say)
        yield ImportedImage(
            image.member, size, "loaded", place.adopt(load(client, saved[image.member], chunks))
        )


@dataclass(frozen=True)
class _ImageSlot:
    """The tag of an image in an engine: a function that finds it, and one that sets it."""

    find: Callable[[DockerClient], str]
    adopt: Callable[[Image], str]


def _image_slots(
    manifest: Manifest, toolchains: Sequence[Toolchain]
) -> Iterator[tuple[BundledImage, _ImageSlot]]:
    if manifest.base is not None:
        yield manifest.base.image, _slot_of_base(toolchains[0])
    for bundled, toolchain in zip(manifest.toolchains, toolchains, strict=True):
        if bundled.image is not None:
            yield bundled.image, _slot_of_image(toolchain)


def _slot_of_base(toolchain: Toolchain) -> _ImageSlot:
    recipe = read_recipe(base_dir(toolchain) / "base.toml")

    def find(client: DockerClient) -> str:
        existing = find_base(client, recipe)
        return existing.image if existing else ""

    return _ImageSlot(find, lambda image: adopt_base(image, recipe).image)


def _slot_of_image(toolchain: Toolchain) -> _ImageSlot:
    def find(client: DockerClient) -> str:
        existing = find_image(client, toolchain)
        return existing.tag if existing else ""

    return _ImageSlot(find, lambda image: adopt_image(image, toolchain).tag)


def _packages(bundle: Bundle, toolchain: Toolchain, cache: Path) -> None:
    """Store the list of the base's Debian versions where a locally made base has its own."""
    file = packages_file(read_recipe(base_dir(toolchain) / "base.toml"), cache)
    for member in bundle.manifest.below(BASE):
        if member.name == f"{BASE}{file.name}" and not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(file) as partial:
                partial.write_bytes(b"".join(bundle.chunks(member.name)))
