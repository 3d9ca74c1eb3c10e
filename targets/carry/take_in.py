"""Puts what a bundle holds where builds look for it: the cache's wheelhouse, and the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from docker import DockerClient
from docker.models.images import Image

from targets.atomic import whole_file
from targets.carry.bundle import BASE, WHEELS, CarriedImage, Manifest
from targets.carry.engine_images import load
from targets.carry.fit import require_fit, require_images, require_pinned
from targets.carry.progress import Say, gigabytes, with_progress
from targets.carry.read import Bundle, open_bundle, require_whole
from targets.carry.saved_image import SavedImage
from targets.toolchain.base import adopt_base, find_base, packages_file, read_recipe
from targets.toolchain.image import adopt_image, base_dir, find_image
from targets.toolchain.toolchain import Toolchain
from targets.toolchain.wheelhouse import Wheelhouse


@dataclass(frozen=True)
class TakenImage:
    """What became of an image."""

    member: str
    bytes: int
    status: Literal["loaded", "present", "left"]
    """``left``: there is no engine that could take it."""
    tag: str


@dataclass(frozen=True)
class TakenIn:
    """What was taken in, and what was there already."""

    wheels: int
    new_wheels: int
    wheel_bytes: int
    """Of all wheels."""
    folder: Path
    """The wheelhouse."""
    images: tuple[TakenImage, ...]


def take_in(
    path: Path,
    platform: str,
    toolchain_of: Callable[[str], Toolchain],
    client: DockerClient | None,
    cache: Path,
    say: Say,
) -> TakenIn:
    """Take in the bundle at ``path``, after all of it has been checked; again is no work.

    Without a ``client`` its images are left where they are. Raises ``ConfigError`` if it is not for
    this ``platform`` or checkout, ``CheckFailed`` if it is damaged or holds something else than it
    says; nothing is written then.
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
        return TakenIn(
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
) -> Iterator[TakenImage]:
    """Load what the engine does not have; the base first, whose layers the others share."""
    for image, place in _places(bundle.manifest, toolchains):
        size = next(one.bytes for one in bundle.manifest.members if one.name == image.member)
        tag = "" if client is None else place.find(client)
        if client is None or tag:
            yield TakenImage(image.member, size, "present" if tag else "left", tag)
            continue
        say(f"loading {image.member}, {gigabytes(size)}")
        chunks = with_progress(bundle.chunks(image.member), image.member, size, say)
        yield TakenImage(
            image.member, size, "loaded", place.adopt(load(client, saved[image.member], chunks))
        )


@dataclass(frozen=True)
class _Place:
    """Where an image belongs in an engine: finds its tag, empty if absent, or gives it."""

    find: Callable[[DockerClient], str]
    adopt: Callable[[Image], str]


def _places(
    manifest: Manifest, toolchains: Sequence[Toolchain]
) -> Iterator[tuple[CarriedImage, _Place]]:
    if manifest.base is not None:
        yield manifest.base.image, _place_of_base(toolchains[0])
    for carried, toolchain in zip(manifest.toolchains, toolchains, strict=True):
        if carried.image is not None:
            yield carried.image, _place_of_image(toolchain)


def _place_of_base(toolchain: Toolchain) -> _Place:
    recipe = read_recipe(base_dir(toolchain) / "base.toml")

    def find(client: DockerClient) -> str:
        found = find_base(client, recipe)
        return found.image if found else ""

    return _Place(find, lambda image: adopt_base(image, recipe).image)


def _place_of_image(toolchain: Toolchain) -> _Place:
    def find(client: DockerClient) -> str:
        found = find_image(client, toolchain)
        return found.tag if found else ""

    return _Place(find, lambda image: adopt_image(image, toolchain).tag)


def _packages(bundle: Bundle, toolchain: Toolchain, cache: Path) -> None:
    """Keep the list of Debian versions beside where a base made here would have its own."""
    file = packages_file(read_recipe(base_dir(toolchain) / "base.toml"), cache)
    for member in bundle.manifest.below(BASE):
        if member.name == f"{BASE}{file.name}" and not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(file) as partial:
                partial.write_bytes(b"".join(bundle.chunks(member.name)))
